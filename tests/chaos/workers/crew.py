"""Workers that are killed and started again: one whose pool forks children, and some of a single process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from deploy.local.stack.folder import ROOT

QUEUES = "effects,housekeeping,cache"
CHILDREN = 3
WHOLE_SHARE = 0.12
"""Of the kills, those that hit a whole worker."""
POOL_WITHIN_S = 20.0
"""A forking worker that was killed as a whole has children again after this time."""
CREW = {
    "forking-1": ("--pool", "prefork", "--concurrency", str(CHILDREN)),
    "single-1": ("--pool", "solo"),
    "single-2": ("--pool", "solo"),
}


class Crew:
    """The workers; a context manager that leaves none.

    Args:
        env: their environment.
        logs: folder of their logs.
        draw: says who dies.
    """

    def __init__(self, env: Mapping[str, str], logs: Path, draw: random.Random) -> None:
        self._env, self._logs, self._draw = dict(env), logs, draw
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.children_killed = 0
        self.workers_killed = 0

    def __enter__(self) -> Self:
        for name in CREW:
            self._start(name)
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._running.values():
            self._end(process)

    @property
    def killed(self) -> int:
        """How many processes were picked and killed."""
        return self.children_killed + self.workers_killed

    def kill_one(self) -> None:
        """`kill -9` a child of a pool, or a whole worker, which is started again."""
        if self._draw.random() >= WHOLE_SHARE and (children := self._wait_children()):
            with suppress(psutil.NoSuchProcess):
                self._draw.choice(children).kill()
                self.children_killed += 1
            return
        name = self._draw.choice(sorted(self._running))
        self._end(self._running[name])
        self.workers_killed += 1
        self._start(name)

    def see_to_all(self) -> None:
        """Start again whoever has ended by itself."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                self._start(name)

    def _wait_children(self) -> list[psutil.Process]:
        """The children, once the pool has some again; none when that takes too long."""
        deadline = time.monotonic() + POOL_WITHIN_S
        while not (found := self._children()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _children(self) -> list[psutil.Process]:
        """The pool's children, oldest first: their parent replaces each that dies."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._running["forking-1"].pid).children()
        return []

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", "workers", "worker", "--queues", QUEUES, "--name", name, *CREW[name]]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
