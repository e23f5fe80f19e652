"""What a user types is checked: mypy and pyright refuse each wrong call of a list, and accept the right ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIGHT, WRONG = ROOT / "tests/typing/right_calls.py", ROOT / "tests/typing/wrong_calls.py"


def run_mypy(*files: Path) -> dict[Path, set[int]]:
    """The lines of each file in which mypy finds an error, with the project's own settings and cache."""
    command = [sys.executable, "-m", "mypy", "--output", "json", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[Path, set[int]] = {file: set() for file in files}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["severity"] == "error":
            found.setdefault((ROOT / message["file"]).resolve(), set()).add(message["line"])
    return found


def run_pyright(*files: Path) -> dict[Path, set[int]]:
    """The lines of each file in which pyright finds an error."""
    command = [sys.executable, "-m", "pyright", "--project", "tests/typing", "--outputjson"]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] >= len(files)
    found: dict[Path, set[int]] = {file: set() for file in files}
    for message in answer["generalDiagnostics"]:
        if message["severity"] == "error":
            found.setdefault(Path(message["file"]), set()).add(message["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("check", [run_mypy, run_pyright], ids=["mypy", "pyright"])
@pytest.mark.long
def test_every_wrong_call_is_an_error_and_no_right_one(
    check: Callable[..., dict[Path, set[int]]],
) -> None:
    found = check(RIGHT, WRONG)
    lines = WRONG.read_text("utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) >= 40
    assert found[RIGHT] == set(), "right calls are refused"
    accepted = [f"{number}: {lines[number - 1].strip()}" for number in sorted(wrong - found[WRONG])]
    assert accepted == [], "wrong calls are accepted"
    assert found[WRONG] - wrong == set(), "lines that are not marked are refused"


def test_the_list_has_synchronous_and_asynchronous_calls() -> None:
    text = WRONG.read_text("utf-8")
    assert len(re.findall(r"^    await .*# wrong$", text, re.MULTILINE)) >= 10
    assert len(re.findall(r"^    agent\..*# wrong$", text, re.MULTILINE)) >= 30
