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


def run_mypy(tmp_path: Path, *files: Path) -> dict[Path, set[int]]:
    """The lines of each file in which mypy finds an error."""
    config = tmp_path / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = true\nmypy_path = {ROOT / 'shared'}\n[mypy-agentstate.*]\nfollow_imports = silent\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--output", "json", *map(str, files)]
    done = subprocess.run(
        [*command, "--cache-dir", str(ROOT / ".mypy_cache/typed_calls")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[Path, set[int]] = {file: set() for file in files}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["severity"] == "error":
            found[(ROOT / message["file"]).resolve()].add(message["line"])
    return found


def run_pyright(tmp_path: Path, *files: Path) -> dict[Path, set[int]]:
    """The lines of each file in which pyright finds an error."""
    config = tmp_path / "pyrightconfig.json"
    settings = {"include": [str(file) for file in files], "extraPaths": [str(ROOT / "shared")], "pythonVersion": "3.11"}
    # An operator's or an attribute's result that is not used is an error of its own, which the lines here all are.
    config.write_text(json.dumps({**settings, "typeCheckingMode": "standard", "reportUnusedExpression": "none"}))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--project", str(config), "--outputjson", "--pythonpath", sys.executable],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[Path, set[int]] = {file: set() for file in files}
    for message in json.loads(done.stdout)["generalDiagnostics"]:
        if message["severity"] == "error":
            found[Path(message["file"])].add(message["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("check", [run_mypy, run_pyright], ids=["mypy", "pyright"])
def test_every_wrong_call_is_an_error_and_no_right_one(
    check: Callable[..., dict[Path, set[int]]], tmp_path: Path
) -> None:
    found = check(tmp_path, RIGHT, WRONG)
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
