"""The set-up script, run for real in a small project: an environment is made, kept, repaired, and its messages help."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pip
import pytest

from deploy.local.stack.folder import ROOT

BACKEND = """
import base64, hashlib, pathlib, zipfile
def _wheel(folder):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    return name
def build_editable(folder, settings=None, metadata=None): return _wheel(folder)
def build_wheel(folder, settings=None, metadata=None): return _wheel(folder)
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1.0"
"""
# Making pip anew takes seconds each time, so the one of this environment is copied.
QUICK_PYTHON = f"""
[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"
{sys.executable} -m venv --without-pip "$3" && cp -Rp {Path(pip.__file__).parent} "$3"/lib/python3.*/site-packages/
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without dependencies, whose model is nowhere to be had."""
    folder = tmp_path / "a project"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", folder / "scripts" / "setup")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "requirements.lock").write_text("# nothing\n")
    (folder / "requirements-model.lock").write_text(f"no-such-model==1.0 --hash=sha256:{'0' * 64}\n")
    return folder


def program(folder: Path, name: str, text: str) -> Path:
    """A program of a test, first on PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def setup(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    programs = project.parent / "bin"
    program(programs, "python3", QUICK_PYTHON)
    given = {"HOME": str(project.parent), "PATH": f"{programs}:/usr/bin:/bin", "PIP_NO_INDEX": "1", **environment}
    return subprocess.run(
        [project / "scripts" / "setup", *options], env=given, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.long
def test_an_environment_is_made_kept_brought_up_to_date_and_repaired(project: Path) -> None:
    """One story, for every environment takes seconds to make."""
    programs = project.parent / "bin"
    program(programs, "uv", "echo 'error: the index is not for me' >&2; exit 2")
    first = setup(project)
    assert first.returncode == 0, first.stderr
    assert "uv could not do it: error: the index is not for me" in first.stderr
    assert "trying with pip" in first.stderr
    assert "search is by keywords only" in first.stderr
    assert subprocess.run([project / ".venv/bin/python", "-c", "import tiny"], check=False).returncode == 0
    (programs / "uv").unlink()

    again = setup(project)
    assert (again.returncode, again.stderr, again.stdout) == (0, "", "")
    assert "embedding model" in setup(project, "--model").stderr

    (project / "requirements.lock").write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    failed = setup(project)
    assert failed.returncode == 1
    assert "no-such-package" in failed.stderr
    assert "run it again" in failed.stderr

    (project / "requirements.lock").write_text("# still nothing\n")
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/no/such/python")
    repaired = setup(project)
    assert (repaired.returncode, "replacing .venv" in repaired.stderr) == (0, True)
    assert setup(project).stderr == ""


def test_it_says_which_python_it_saw_and_what_to_install(project: Path) -> None:
    programs = project.parent / "bin"
    old = program(programs, "old-python", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    failed = setup(project, PYTHON=str(old))
    assert failed.returncode == 1
    assert f"no Python 3.11 to 3.14 was found. Seen: {old} is 3.9.2;" in failed.stderr
    assert "apt install python3 python3-venv" in failed.stderr
    assert not (project / ".venv").exists()


def test_it_says_that_the_module_for_environments_is_missing(project: Path) -> None:
    bare = program(
        project.parent / "bin", "bare-python", f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    )
    failed = setup(project, PYTHON=str(bare))
    assert (failed.returncode, "apt install python3-venv" in failed.stderr) == (1, True)


def test_it_says_how_much_room_it_needs(project: Path) -> None:
    program(project.parent / "bin", "df", "echo head; echo '/dev/x 1000 900 102400 90% /'")
    failed = setup(project)
    assert failed.returncode == 1
    assert "only 100 MB are free here; 900 MB are needed" in failed.stderr


def test_an_unknown_option_is_refused(project: Path) -> None:
    failed = setup(project, "--moon")
    assert (failed.returncode, "unknown option --moon" in failed.stderr) == (1, True)


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make", "-s"], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=True)
    for target in ("setup", "up", "down", "status", "demo", "test", "lint", "clean"):
        assert f"\n  {target} " in listed.stdout
