"""Asking a service for all who wait: one thread in this process, one process of all, and one answer for everybody.

The right to ask is a lock in Redis that ends by itself seconds after its holder was killed. What is brought is kept
only by the holder of the present right, so neither a late holder nor one that a mutation overtook can spoil the entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from agentstate.clock import Clock
from agentstate.errors import ServiceError, ServiceRejected
from agentstate.services.cache.backend import ClaimResult
from agentstate.services.cache.backends import Shelves
from agentstate.services.cache.entry import CacheKey, LoadFailure, StoredEntry, failure_until
from agentstate.services.cache.flights import Flight, Flights
from agentstate.services.cache.lock_renewal import Holds
from agentstate.services.cache.source import Reading, StateSource

FAILURE_S = 2.0
"""For so long a failure is remembered, and nobody asks again; a rate limit for as long as it says, up to a minute."""
LONGEST_FAILURE_S = 60.0

HOLD_S = 3.0
"""The right to ask ends by itself so soon after its holder was killed; while it asks, it is prolonged."""

FIRST_LOOK_S, SLOWEST_LOOK_S = 0.01, 0.1

Fits: TypeAlias = Callable[[StoredEntry], bool]
"""Whether an entry is young enough for who asks."""

Make: TypeAlias = Callable[[CacheKey, datetime, Reading, StoredEntry | None], StoredEntry]
"""Makes an entry of a reading, its moment, and the entry before; raises ServiceAnswerInvalid."""


class Asker:
    """Brings entries.

    Args:
        source: reads a state from its service.
        shelves: where entries are kept.
        make: makes an entry of a reading.
        keep_s: for how many seconds an entry is kept.
        clock: present time, UTC.
        hold_s: how soon the right to ask ends by itself.
    """

    def __init__(
        self,
        source: StateSource,
        shelves: Shelves,
        make: Make,
        keep_s: Callable[[CacheKey], float],
        clock: Clock,
        *,
        hold_s: float = HOLD_S,
    ) -> None:
        self._source = source
        self._shelves = shelves
        self._make = make
        self._keep_s = keep_s
        self._clock = clock
        self._flights = Flights()
        self._hold_s = hold_s
        self._holds = Holds(hold_s / 3)

    def bring(self, key: CacheKey, fits: Fits, *, again: bool = False) -> StoredEntry | LoadFailure:
        """An entry that fits, asked for or brought by another; else why there is none.

        Args:
            key: which entry.
            fits: whether an entry is young enough.
            again: ask also when the service has failed just now.
        """
        began = time.monotonic()
        patience_s = 2 * self._source.deadline_s
        with self._flights.join(key, patience_s) as flight:
            if flight is None:
                return self._failure("another thread has been asking for too long")
            brought = flight.brought_since(began)
            if isinstance(brought, LoadFailure) or (isinstance(brought, StoredEntry) and fits(brought)):
                return brought
            return self._among_processes(key, fits, flight, began + patience_s, again=again)

    def _among_processes(
        self, key: CacheKey, fits: Fits, flight: Flight, until: float, *, again: bool
    ) -> StoredEntry | LoadFailure:
        """Take the right that all processes share and ask; while another has it, look for what it brings."""
        pause = FIRST_LOOK_S
        while True:
            claimed = self._shelves.use(lambda shelf: shelf.claim_load(key, self._hold_s))
            found = self._found(key, claimed, fits, again=again)
            if found is not None:
                flight.bring(found)
                return found
            if claimed.token is not None:
                return self._ask(key, flight, claimed.token, claimed.stored)
            if time.monotonic() > until:
                return self._failure("another process has been asking for too long")
            time.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK_S)

    def _found(
        self, key: CacheKey, claimed: ClaimResult, fits: Fits, *, again: bool
    ) -> StoredEntry | LoadFailure | None:
        """What makes asking needless: somebody has brought what fits, or has just failed."""
        found: StoredEntry | LoadFailure | None = None
        if claimed.stored is not None and fits(claimed.stored):
            found = claimed.stored
        elif claimed.failure is not None and not again and claimed.failure.is_remembered(self._clock()):
            found = claimed.failure
        if found is not None and claimed.token is not None:
            self._give_back(key, claimed.token, None)
        return found

    def _ask(self, key: CacheKey, flight: Flight, token: str, before: StoredEntry | None) -> StoredEntry | LoadFailure:
        as_of, failure, kept = self._clock(), None, False
        try:
            with self._holds.prolonged((key, token), lambda: self._prolong(key, token)):
                reading = self._source.read_state(key.agent_id, key.service)
            stored = self._make(key, as_of, reading, before)
            kept = self._shelves.use(lambda shelf: shelf.store_claimed(key, token, stored, self._keep_s(key)))
        except ServiceError as error:
            failure = self._remembered(error)
            flight.bring(failure)
            return failure
        finally:
            if not kept:
                self._give_back(key, token, failure)
        if kept:  # else a mutation came in between, and those who wait must not have it
            flight.bring(stored)
        return stored

    def _prolong(self, key: CacheKey, token: str) -> None:
        self._shelves.use(lambda shelf: shelf.renew_claim(key, token, self._hold_s))

    def _give_back(self, key: CacheKey, token: str, failure: LoadFailure | None) -> None:
        self._shelves.use(lambda shelf: shelf.release_claim(key, token, failure, LONGEST_FAILURE_S))

    def _remembered(self, error: ServiceError) -> LoadFailure:
        lasts, code = FAILURE_S, None
        if isinstance(error, ServiceRejected):
            code = None if error.retry_after is not None else error.code
            lasts = min(max(error.retry_after or 0.0, FAILURE_S), LONGEST_FAILURE_S)
        return failure_until(self._clock() + timedelta(seconds=lasts), error.message, code)

    def _failure(self, reason: str) -> LoadFailure:
        return failure_until(self._clock(), reason, None)
