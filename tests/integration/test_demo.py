"""The demonstration itself, short and without a model: it keeps its promises, writes its rows, and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.stack.control import INTERRUPTED
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.supervisor import end_leftovers, find_leftovers
from deploy.local.stack.table import python_path

pytestmark = pytest.mark.long

SHORT = (
    "--agents", "3", "--seconds", "6", "--seed", "5",
    "--set", "embedder=lexical", "--set", "reconcile_every_s=5", "--set", "snapshot_every_s=5",
)  # fmt: skip


@pytest.fixture
def data(fast_folder: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=fast_folder)) / "demo"
    yield path
    end_leftovers(Folder(path))
    shutil.rmtree(path.parent)


@contextmanager
def started(data: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The demonstration in a process of its own, which is ended however the test ends."""
    environment = {**os.environ, "PYTHONPATH": python_path(None), "OPENBLAS_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "deploy.local.demo", "--data", str(data), *SHORT, *options]
    with subprocess.Popen(
        call, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_a_short_run_keeps_its_promises_and_writes_its_rows(data: Path, tmp_path: Path) -> None:
    report, build = tmp_path / "report.json", tmp_path / "build.json"
    with started(data, "--json", str(report), "--build", str(build)) as process:
        output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output

    rows = json.loads(report.read_text("utf-8"))
    assert build.read_bytes() == report.read_bytes()
    assert all(set(row) == {"name", "value", "unit", "bar", "reference", "met"} for row in rows)
    assert [row["name"] for row in rows if row["met"] is False] == []
    values = {row["name"]: row["value"] for row in rows}
    assert values["most effects of one intent"] == 1
    assert values["ledger against the services"] == 0
    assert values["memories stored"] == values["memories searchable"] > 0
    assert values["snapshot slots fired by beat"] >= 1
    assert values["tasks in Flower"] > 0
    assert sum(name.startswith("promise: ") for name in values) == 9
    killed = [value for name, value in values.items() if name.startswith("went wrong on purpose")]
    assert any("kill -9 of worker-money-1" in what for what in killed)
    assert any("FLUSHALL" in what for what in killed)
    assert "all promises were kept" in output
    assert find_leftovers(Folder(data)) == {}


def test_ctrl_c_leaves_no_process(data: Path) -> None:
    with started(data) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "processes work for" in line:
                process.send_signal(signal.SIGINT)
                break
        output = process.stdout.read()
        process.wait(timeout=60)
    assert process.returncode == INTERRUPTED, output
    assert "nothing runs any more" in output
    assert find_leftovers(Folder(data)) == {}
