"""Machines whose clocks are off or are set: a real beat and a real worker under libfaketime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from agentstate.jobs.broker import BrokerWakeUpSender
from agentstate.jobs.kinds import BULK
from agentstate.jobs.wake_ups import lane_queue
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from deploy.local.stack.folder import ROOT
from tests.stubs.debian import faked_clock
from tests.stubs.job_handlers import task_module

pytestmark = pytest.mark.long

DOOR = lane_queue("housekeeping", 0)
PATIENCE_S = 60.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@pytest.fixture
def settings(stack: Any, module_postgres_url: str) -> Settings:
    base = stack.env["AGENTSTATE_REDIS_URL"].rsplit("/", 1)[0]
    with redis.Redis.from_url(f"{base}/11") as client:
        client.flushdb()
    return Settings.load(
        database_url=module_postgres_url,
        redis_url=f"{base}/12",
        broker_url=f"{base}/11",
        sweep_every_s=0.5,
        embedder="lexical",
    )


@contextmanager
def process(settings: Settings, folder: Path, *command: str, clock: str = "+0s") -> Iterator[Path]:
    """A process of ours whose clock is off by what is written into the file that this gives."""
    file = folder / f"{command[0]}.clock"
    file.write_text(clock)
    environment = {
        **os.environ,
        **faked_clock(file, folder),
        "AGENTSTATE_DATABASE_URL": settings.database_url,
        "AGENTSTATE_BROKER_URL": settings.broker_url,
        "AGENTSTATE_REDIS_URL": settings.redis_url,
        "AGENTSTATE_SWEEP_EVERY_S": "0.5",
        "AGENTSTATE_EMBEDDER": "lexical",
    }
    with (folder / f"{command[0]}.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "workers", *command], env=environment, stdout=log, stderr=log, cwd=ROOT
        )
        try:
            yield file
        finally:
            running.terminate()
            running.wait(timeout=PATIENCE_S)


def test_beat_goes_on_when_its_clock_is_set_back_an_hour(settings: Settings, tmp_path: Path) -> None:
    with (
        redis.Redis.from_url(settings.broker_url) as client,
        process(settings, tmp_path, "beat") as clock,
    ):
        until(lambda: client.llen(DOOR) >= 4)
        for change in ("-3600s", "-7200s", "+3600s"):
            clock.write_text(change)
            until(lambda: "the schedule moves with it" in (tmp_path / "beat.log").read_text())
            sent = client.llen(DOOR)
            until(lambda sent=sent: client.llen(DOOR) >= sent + 6)


def test_a_beat_that_starts_fires_what_is_due_once_a_day(settings: Settings, tmp_path: Path) -> None:
    with redis.Redis.from_url(settings.broker_url) as client, process(settings, tmp_path, "beat"):
        for kind in (b"housekeeping.attest", b"housekeeping.months"):
            until(lambda kind=kind: any(kind in item for item in client.lrange(DOOR, 0, -1)))


@pytest.mark.parametrize("clock", ["+3600s", "-3600s"])
def test_a_worker_whose_clock_is_off_sweeps(settings: Settings, tmp_path: Path, clock: str) -> None:
    runtime = Runtime(settings)
    worker = ("worker", "--queues", "housekeeping,cache", "--pool", "solo")
    with process(settings, tmp_path, *worker, clock=clock), process(settings, tmp_path, "beat"):
        # A job that no message was sent for: only a sweep finds it.
        job_id = runtime.jobs.submit("housekeeping.expire", {}, due_in=0.5)
        assert runtime.jobs.wait(job_id, timeout_s=PATIENCE_S).attempts == 1
    runtime.close()


@pytest.mark.parametrize(("usable_until", "runs"), [("1060.000", 1), ("999.000", 0), (None, 1)])
def test_a_message_of_beat_that_is_too_old_by_the_brokers_clock_is_dropped(
    monkeypatch: pytest.MonkeyPatch, usable_until: str | None, runs: int
) -> None:
    housekeeping = task_module("housekeeping")
    swept: list[object] = []
    monkeypatch.setattr(BrokerWakeUpSender, "read_broker_time", lambda _: 1_000.0)
    monkeypatch.setattr(housekeeping, "find_waiting_bulk", lambda runtime: swept.append(runtime) or [])
    monkeypatch.setattr(housekeeping, "JobSweeper", lambda *_: SimpleNamespace(sweep_once=lambda: None))
    monkeypatch.setattr(Runtime, "store", None)
    task = task_module("app").app.tasks[BULK["housekeeping.sweep"].task_name]
    task.apply(headers={} if usable_until is None else {"usable_until": usable_until}).get()
    assert len(swept) == runs
