"""A sample of `make chaos`: killed here and there, come back to, nothing doubled or lost, every planted bug caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.stack.stack import Stack
from deploy.local.stack.table import python_path
from tests.chaos.money.bugs import BUGS

ROOT = Path(__file__).parents[2]


@pytest.mark.guide_defect(150)
def test_a_sample_of_all_crash_points_doubles_nothing_and_every_planted_bug_is_caught(
    stack: Stack, tmp_path: Path
) -> None:
    # A program of its own: forked from the test run, its processes would inherit connections and locks.
    report, server = tmp_path / "chaos.json", stack.env["AGENTSTATE_DATABASE_URL"]
    command = [sys.executable, "-m", "tests.chaos.money", "--sample", "2", "--postgres", server, "--json", str(report)]
    env = {**os.environ, "PYTHONPATH": python_path(None)}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(report.read_text("utf-8"))
    assert [row["name"] for row in rows if not row["met"]] == []
    assert {row["name"] for row in rows if row["unit"] == "bug"} == {f"caught: bug: {name}" for name in BUGS}
    assert any(row["name"].startswith("control") and row["value"] > 0 for row in rows)
