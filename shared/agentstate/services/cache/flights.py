"""Flights: within one process, one reader of a thing is under way and the others wait for what it brings."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Flight:
    """One thing being read: its lock, how many are interested, and what the last one to hold it brought."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    interested: int = 0
    brought: object = None
    brought_at: float = 0.0

    def bring(self, what: object) -> None:
        """Leave something for those who joined before."""
        self.brought, self.brought_at = what, time.monotonic()

    def brought_since(self, moment: float) -> object:
        """What was brought after a moment of the monotonic clock, None when nothing was."""
        return self.brought if self.brought_at >= moment else None


class Flights:
    """The flights of one process. A flight lasts while anybody is interested, so nothing grows for ever."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._flights: dict[Hashable, Flight] = {}

    @contextmanager
    def join(self, key: Hashable, timeout_s: float) -> Iterator[Flight | None]:
        """Hold the flight of `key` alone; None when it did not come free within `timeout_s` seconds."""
        with self._guard:
            flight = self._flights.setdefault(key, Flight())
            flight.interested += 1
        held = flight.lock.acquire(timeout=timeout_s)
        try:
            yield flight if held else None
        finally:
            if held:
                flight.lock.release()
            with self._guard:
                flight.interested -= 1
                if not flight.interested:
                    del self._flights[key]
