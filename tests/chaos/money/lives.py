"""Lives of processes: forked from this warm one, watched, and counted out.

A fork costs milliseconds where a fresh interpreter costs a second, which is what makes it possible to try every point.
Whoever forks has no connection open and runs no thread; what a life needs it opens by itself.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import selectors
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

LONGEST_S = 60.0
"""A life that takes longer is taken for stuck, and ended."""
_FAILED = 70
_alive: set[int] = set()
"""Lives of this process that have not ended: a failure must not leave a stopped one behind."""


class LifeFailed(AssertionError):
    """A life ended by an error that is none of its own kind: the harness or the code under test is broken."""


@dataclass(frozen=True)
class Ended:
    """How a life ended, and what it told at its end (None when it was killed before)."""

    code: int
    """Exit code; below zero the signal that ended it."""
    told: Any

    @property
    def killed(self) -> bool:
        """Whether it died by `kill -9`."""
        return self.code == -signal.SIGKILL


class Life:
    """One running process."""

    def __init__(self, body: Callable[[], Any]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _alive.clear()
            _live(body, writing)
        os.close(writing)
        _alive.add(self.pid)
        self._told = bytearray()
        self.pipe = reading

    def read(self) -> bool:
        """Take what it has told by now; False when that was all."""
        data = os.read(self.pipe, 1 << 20)
        self._told += data
        return bool(data)

    def end(self) -> Ended:
        """Wait until it has ended."""
        _, status = os.waitpid(self.pid, 0)
        _alive.discard(self.pid)
        os.close(self.pipe)
        ended = Ended(os.waitstatus_to_exitcode(status), json.loads(self._told) if self._told else None)
        if ended.code == _FAILED:
            raise LifeFailed(ended.told)
        return ended

    def wait(self, timeout_s: float = LONGEST_S) -> Ended:
        """Listen to it until it has ended; one that takes too long is killed, and that is an error."""
        gather([self], timeout_s=timeout_s)
        return self.end()

    def wait_stopped(self) -> None:
        """Return once it has stopped itself by SIGSTOP; an error when it ends instead."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise LifeFailed(f"it ended ({os.waitstatus_to_exitcode(status)}) where it was to stop")

    def go_on(self) -> None:
        """Let a stopped one go on."""
        os.kill(self.pid, signal.SIGCONT)


def end_all() -> None:
    """Kill the lives of this process that have not ended."""
    for pid in _alive:
        os.kill(pid, signal.SIGKILL)


def live(body: Callable[[], Any]) -> Ended:
    """Let `body` run in a process of its own; how it ended."""
    return Life(body).wait()


def gather(lives: Iterable[Life], *, timeout_s: float = LONGEST_S, tick: Callable[[], None] | None = None) -> None:
    """Listen to all of them until they have closed their pipes; `tick` is called at least twice a second."""
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for each in lives:
            selector.register(each.pipe, selectors.EVENT_READ, each)
        while selector.get_map():
            for key, _ in selector.select(0.5):
                if not key.data.read():
                    selector.unregister(key.fileobj)
            if tick is not None:
                tick()
            if time.monotonic() > deadline:
                _give_up([key.data for key in selector.get_map().values()], timeout_s)


def spread(
    items: Sequence[T], work: Callable[[int, Sequence[T], Callable[[], None]], Any], *, say: Callable[[int], None]
) -> list[Any]:
    """Let two processes share `items`; what `work(number, share, done)` gave in each.

    `work` calls `done()` after each item; `say` is told now and then how many are done.
    """
    counters = mmap.mmap(-1, 8 * PARALLEL)
    lives = [
        Life(lambda n=n: work(n, items[n::PARALLEL], lambda: _count(counters, n)))  # type: ignore[misc]
        for n in range(PARALLEL)
        if items[n::PARALLEL]
    ]
    gather(lives, timeout_s=3_600.0, tick=lambda: say(sum(struct.unpack(f"{PARALLEL}q", counters[:]))))
    return [each.end().told for each in lives]


PARALLEL = 2
"""Lives at once: the enumeration waits mostly for forks and commits."""


def _count(counters: mmap.mmap, number: int) -> None:
    (before,) = struct.unpack_from("q", counters, 8 * number)
    struct.pack_into("q", counters, 8 * number, before + 1)


def _give_up(lives: list[Life], timeout_s: float) -> NoReturn:
    for each in lives:
        os.kill(each.pid, signal.SIGKILL)
    raise LifeFailed(f"{len(lives)} lives did not end within {timeout_s:g} s")


def _live(body: Callable[[], Any], writing: int) -> NoReturn:
    """Run `body` and tell what it gives; never returns into the code of the parent."""
    logging.disable()  # of connections that were cut on purpose
    try:
        told = json.dumps(body()).encode()
        code = 0
    except BaseException:  # noqa: BLE001 whatever it was, it is told and this process ends
        told, code = json.dumps(traceback.format_exc()).encode(), _FAILED
        end_all()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(told)
        sys.stdout.flush()
    finally:
        os._exit(code)
