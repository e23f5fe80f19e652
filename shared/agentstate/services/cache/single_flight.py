"""Single flight: one thread of one process loads an entry from its service, and all concurrent readers get the result.

Between processes the right to load is a lock in Redis that expires seconds after its holder was killed, and is renewed
while the holder works. Only the holder of the current right can store the result, so neither a late holder nor one
that an invalidation overtook can overwrite the entry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

from agentstate.clock import Clock
from agentstate.errors import ServiceError, ServiceRejected
from agentstate.services.cache.backends import FallbackBackend
from agentstate.services.cache.entry import CacheKey, LoadFailure, StoredEntry, to_micros
from agentstate.services.cache.source import Reading, StateSource

FAILURE_S = 2.0
"""Seconds for which a failure is remembered and not retried; a rate limit for as long as it says, up to a minute."""
LONGEST_FAILURE_S = 60.0

HOLD_S = 3.0
"""Seconds after which the right to load expires when its holder was killed."""

FIRST_LOOK_S, SLOWEST_LOOK_S = 0.01, 0.1
"""Pauses between looks for another process's result, in seconds."""

IDLE_S = 30.0
"""The renewal thread ends after so many seconds without a lock."""

Fits: TypeAlias = Callable[[StoredEntry], bool]
"""Whether an entry is young enough for the caller."""

MakeEntry: TypeAlias = Callable[[CacheKey, datetime, Reading, StoredEntry | None], StoredEntry]
"""Makes an entry of a reading, its time, and the entry before; raises ServiceAnswerInvalid."""


@dataclass(slots=True)
class _Flight:
    """One entry being loaded by this process: its lock, its number of readers, and its last result."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    readers: int = 0
    result: StoredEntry | LoadFailure | None = None
    finished_at: float = 0.0

    def finish(self, result: StoredEntry | LoadFailure) -> None:
        """Leave the result for the readers that are waiting."""
        self.result, self.finished_at = result, time.monotonic()


class LockRenewal:
    """Renews locks from one background thread while their holders work.

    Args:
        every_s: seconds between renewals of each lock.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._changed = threading.Condition()
        self._renewals: dict[Hashable, Callable[[], None]] = {}
        self._running = False

    @contextmanager
    def keep_renewed(self, name: Hashable, renew: Callable[[], None]) -> Iterator[None]:
        """Call `renew` periodically, from another thread, until the block ends."""
        with self._changed:
            self._renewals[name] = renew
            self._changed.notify()
            if not self._running:
                self._running = True
                threading.Thread(target=self._renew_until_idle, name="lock-renewal", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._renewals.pop(name, None)

    def _renew_until_idle(self) -> None:
        while True:
            with self._changed:
                if not self._renewals and not self._changed.wait(IDLE_S):
                    self._running = False
                    return
                self._changed.wait(self._every_s)
                due = list(self._renewals.values())
            for renew in due:
                renew()


class SingleFlightLoader:
    """Loads an entry once for all concurrent readers.

    Args:
        source: reads a state from its service.
        backend: where entries are kept.
        make_entry: makes an entry of a reading.
        keep_s: for how many seconds an entry is kept.
        clock: present time, UTC.
        hold_s: seconds after which the right to load expires by itself.
    """

    def __init__(
        self,
        source: StateSource,
        backend: FallbackBackend,
        make_entry: MakeEntry,
        keep_s: Callable[[CacheKey], float],
        clock: Clock,
        *,
        hold_s: float = HOLD_S,
    ) -> None:
        self._source = source
        self._backend = backend
        self._make_entry = make_entry
        self._keep_s = keep_s
        self._clock = clock
        self._hold_s = hold_s
        self._renewal = LockRenewal(hold_s / 3)
        self._flights: dict[CacheKey, _Flight] = {}
        self._flights_lock = threading.Lock()

    def load(self, key: CacheKey, fits: Fits, *, retry_failed: bool = False) -> StoredEntry | LoadFailure:
        """Return an entry that fits, loaded here or by another reader; else the reason why there is none.

        Args:
            key: which entry.
            fits: whether an entry is young enough.
            retry_failed: ask the service also when it failed a moment ago.
        """
        began = time.monotonic()
        patience_s = 2 * self._source.deadline_s
        with self._join_flight(key, patience_s) as flight:
            if flight is None:
                return self._failure_now("another thread has been reading it for too long")
            result = flight.result if flight.finished_at >= began else None
            if isinstance(result, LoadFailure) or (result is not None and fits(result)):
                return result
            # This thread speaks for its process: take the lock of all processes, or wait for its holder's result.
            pause = FIRST_LOOK_S
            while True:
                claim = self._backend.call_backend(lambda backend: backend.claim_load(key, self._hold_s))
                found: StoredEntry | LoadFailure | None = None
                if claim.stored is not None and fits(claim.stored):
                    found = claim.stored
                elif claim.failure is not None and not retry_failed and claim.failure.is_remembered(self._clock()):
                    found = claim.failure
                if found is not None:
                    if claim.token is not None:
                        self._release_claim(key, claim.token, None)
                    flight.finish(found)
                    return found
                if claim.token is not None:
                    return self._load_claimed(key, flight, claim.token, claim.stored)
                if time.monotonic() > began + patience_s:
                    return self._failure_now("another process has been reading it for too long")
                time.sleep(pause)
                pause = min(pause * 1.5, SLOWEST_LOOK_S)

    @contextmanager
    def _join_flight(self, key: CacheKey, timeout_s: float) -> Iterator[_Flight | None]:
        """Hold the flight of `key` alone; None when it was not free within `timeout_s` seconds."""
        with self._flights_lock:
            flight = self._flights.setdefault(key, _Flight())
            flight.readers += 1
        is_held = flight.lock.acquire(timeout=timeout_s)
        try:
            yield flight if is_held else None
        finally:
            if is_held:
                flight.lock.release()
            with self._flights_lock:
                flight.readers -= 1
                if not flight.readers:  # so that the table does not grow for ever
                    del self._flights[key]

    def _load_claimed(
        self, key: CacheKey, flight: _Flight, token: str, before: StoredEntry | None
    ) -> StoredEntry | LoadFailure:
        """Read from the service and store the result; the claim is given up in every case."""
        as_of, failure, is_stored = self._clock(), None, False
        try:
            renew = partial(self._backend.call_backend, lambda backend: backend.renew_claim(key, token, self._hold_s))
            with self._renewal.keep_renewed((key, token), renew):
                reading = self._source.read_state(key.agent_id, key.service)
            entry = self._make_entry(key, as_of, reading, before)
            keep_s = self._keep_s(key)
            is_stored = self._backend.call_backend(
                lambda backend: backend.store_claimed(key, token, entry, keep_s),
            )
        except ServiceError as error:
            lasts_s, code = FAILURE_S, None
            if isinstance(error, ServiceRejected):
                code = None if error.retry_after is not None else error.code
                lasts_s = min(max(error.retry_after or 0.0, FAILURE_S), LONGEST_FAILURE_S)
            until = self._clock() + timedelta(seconds=lasts_s)
            failure = LoadFailure(until=to_micros(until), reason=error.message, code=code)
            flight.finish(failure)
            return failure
        finally:
            if not is_stored:
                self._release_claim(key, token, failure)
        if is_stored:  # else an invalidation came in between, and the readers that wait must not get this entry
            flight.finish(entry)
        return entry

    def _release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None) -> None:
        self._backend.call_backend(lambda backend: backend.release_claim(key, token, failure, LONGEST_FAILURE_S))

    def _failure_now(self, reason: str) -> LoadFailure:
        return LoadFailure(until=to_micros(self._clock()), reason=reason)
