"""The asynchronous parts are what the generator writes from the synchronous classes of today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_asynchronous_parts_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, "scripts/generate_async.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
