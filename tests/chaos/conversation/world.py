"""The world of the short form: one worker on servers that run already, swept from here, with waiting times wound on."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentstate.jobs.sweep import JobSweeper
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.tables import jobs
from agentstate.store.tables.base import db_time
from deploy.local.stack.stack import Stack
from tests.worlds.waiting import PATIENCE_S

WORKER = "worker-io"
_SWEEP_EVERY_S = 0.3


class KillableWorker(Protocol):
    """Where a worker lives: a whole `World`, or `OneWorker`."""

    def settings(self) -> Settings: ...

    def kill_and_wait(self, name: str) -> int | None:
        """`kill -9`, and wait until it runs again; the pid that it had, None when it was not running just then."""
        ...


@dataclass
class OneWorker:
    """A worker on servers of others."""

    stack: Stack

    def settings(self) -> Settings:
        return Settings.load(env_file=self.stack.folder.env_file)

    def kill_and_wait(self, name: str) -> int | None:
        pid = self.stack.pids[name]
        self.stack.kill_process(name)
        self.stack.wait_running(name, other_than=pid, timeout=PATIENCE_S)
        return pid


@contextmanager
def one_worker(base: Path, servers: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[OneWorker]:
    """A worker on `servers`, settings that lead to running ones, and a sweep from this process."""
    folder = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=base))
    stopping = threading.Event()
    try:
        with Stack(folder, only=(WORKER,), settings={**servers, **settings}) as stack:
            world = OneWorker(stack)
            sweeper = threading.Thread(target=_sweep, args=(world.settings(), stopping))
            sweeper.start()
            try:
                yield world
            finally:
                stopping.set()
                sweeper.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(settings: Settings, stopping: threading.Event) -> None:
    with closing(Runtime(settings)) as runtime:
        sweep = JobSweeper(runtime.store, runtime.wake_ups, unwoken_for_s=1.0)
        while not stopping.wait(_SWEEP_EVERY_S):
            with runtime.store.transaction() as tx:
                waiting = (jobs.c.status == "ready", jobs.c.due_at > db_time())
                tx.connection.execute(jobs.update().where(*waiting).values(due_at=db_time()))
            sweep.sweep_once()
