"""Counters: numbers that each process adds up in memory, and adds to the durable store now and then.

They are for what happens too often to be written each time, such as reads of the cache, or where there is no
transaction, such as calls of a provider. Nobody who counts waits for the store. The price: what a process had counted
since it last wrote, half a minute at most, is gone when it is killed; and should the connection break in the very
commit, that half minute may be counted twice.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from agentstate.store.store import Store
from agentstate.store.tables.jobs import counters
from agentstate.store.upsert import insert_or_add

Key: TypeAlias = tuple[str, str, str]
"""What is counted, of whom, and which part of it."""

WRITE_EVERY_S = 30.0
LONGEST_END_S = 5.0
"""For a write that is under way; a store that does not answer holds up nobody longer."""
SHARDS = 16

_log = logging.getLogger(__name__)


class Counters:
    """One process's tallies. Safe to share between threads.

    Args:
        store: gives the durable store; called when there is something to write, and may raise.
        every_s: seconds between two writes.
    """

    def __init__(self, store: Callable[[], Store], *, every_s: float = WRITE_EVERY_S) -> None:
        self._store = store
        self._every_s = every_s
        self._held: Counter[Key] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None

    def add_count(self, what: str, subject: str, part: str, number: int = 1) -> None:
        """Count. Takes about a microsecond and never waits for the store."""
        with self._lock:
            self._held[what, subject, part] += number
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write_now_and_then, args=(self._ended,), name="tallies", daemon=True
                )
                self._writer.start()

    def flush_counts(self) -> None:
        """Add the counts since the last flush to the store; if it fails, keep them for the next flush."""
        with self._lock:
            taken, self._held = self._held, Counter()
        if not taken:
            return
        try:
            with self._store().transaction() as tx:
                slot = os.getpid() % SHARDS
                # In one order, so that no two processes wait for each other.
                rows = [
                    {"what": what, "subject": subject, "part": part, "slot": slot, "number": number}
                    for (what, subject, part), number in sorted(taken.items())
                ]
                insert_or_add(tx, counters, rows, "number")
        except Exception as error:  # noqa: BLE001 whoever counts has no use for it, and the thread has to go on
            _log.warning("could not flush counters, will retry: %s", error)
            with self._lock:
                self._held.update(taken)

    def close(self) -> None:
        """Stop the writer and flush the counts; counting may go on afterwards."""
        with self._lock:
            writer, self._writer = self._writer, None
            ended, self._ended = self._ended, threading.Event()
        ended.set()
        if writer is not None:
            writer.join(LONGEST_END_S)
        self.flush_counts()

    def _write_now_and_then(self, ended: threading.Event) -> None:
        while not ended.wait(self._every_s):
            self.flush_counts()
