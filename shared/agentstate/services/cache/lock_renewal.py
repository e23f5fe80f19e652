"""Holds: rights that end by themselves within seconds and are prolonged while the work they stand for goes on.

So the right of a process that was killed is free again soon, and a slow answer does not lose it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

IDLE_S = 30.0
"""The thread ends when there was nothing to prolong for so long."""


class Holds:
    """The rights that this process holds.

    Args:
        every_s: how often each is prolonged.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._changed = threading.Condition()
        self._prolong: dict[Hashable, Callable[[], None]] = {}
        self._running = False

    @contextmanager
    def prolonged(self, name: Hashable, prolong: Callable[[], None]) -> Iterator[None]:
        """Call `prolong` again and again, from another thread, until the block ends."""
        with self._changed:
            self._prolong[name] = prolong
            self._changed.notify()
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="holds", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._prolong.pop(name, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._prolong and not self._changed.wait(IDLE_S):
                    self._running = False
                    return
                self._changed.wait(self._every_s)
                due = list(self._prolong.values())
            for prolong in due:
                prolong()
