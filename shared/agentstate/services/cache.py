"""The state cache: readings of the six services, shared by all processes, honest about their age.

One reader asks a service while all others wait for its answer; a mutation invalidates every reading that it spoils; a
service that does not answer leaves a stale reading for a while, then none, and never a zero.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import InvalidInput, RedisUnavailable, ServiceAnswerInvalid, ServiceError, ServiceRejected
from agentstate.ids import checked_name
from agentstate.services.entries import CacheEntry, Quality, Stored
from agentstate.services.flights import Flight, Flights
from agentstate.services.gateway import Gateway
from agentstate.services.names import TTL_S, Service, service_named, spoiled_by
from agentstate.services.portfolio import Portfolio
from agentstate.services.reading import read_state
from agentstate.services.shelf import Key, LocalShelf, RedisShelf, Shelf

T = TypeVar("T")

STALE_TIMES_TTL = 10.0
"""A reading is shown as stale until it is ten times as old as it may be live."""

LOOK_AGAIN_S = 0.02
REDIS_REST_S = 1.0
"""After Redis failed it is left alone for a second, so that a long timeout is not paid at every step."""

MOST_OWED = 10_000


class StateCache:
    """States of agents at services, read through Redis.

    Args:
        gateway: the way to the services.
        redis: a synchronous client with timeouts; None keeps entries in this process alone.
        ttl_s: seconds for which a reading is live, by service; the guide's values when left out.
        stale_times_ttl: limit for stale readings, in multiples of their time to live.
        clock: present time, UTC.
    """

    def __init__(
        self,
        gateway: Gateway,
        redis: Redis | None = None,
        *,
        ttl_s: Mapping[Service, float] = TTL_S,
        stale_times_ttl: float = STALE_TIMES_TTL,
        clock: Clock = utc_now,
    ) -> None:
        self._gateway = gateway
        self._ttl_s = ttl_s
        self._stale_times_ttl = stale_times_ttl
        self._clock = clock
        self._local = LocalShelf()
        self._redis = RedisShelf(redis) if redis is not None else None
        self._redis_rests_until = 0.0
        self._owed: set[Key] = set()
        self._owed_lock = threading.Lock()
        self._flights = Flights()

    def get(self, agent_id: str, service: str, force_refresh: bool = False) -> CacheEntry:  # noqa: FBT001, FBT002  the guide's shape
        """The agent's state at a service: from the cache while it is live, else from the service.

        Args:
            agent_id: whose.
            service: one of the six.
            force_refresh: ask the service even when a live reading is there.

        Returns:
            A live entry; a stale one when the service cannot be read and the limit is not passed; else an unknown one.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
            ServiceRejected: the service knows no such agent, or does not accept our key.
        """
        key = (checked_name(agent_id), service_named(service))
        not_before = self._clock() - timedelta(seconds=0 if force_refresh else self._ttl_s[key[1]])
        stored = self._on_shelf(lambda shelf: shelf.load(key))
        if stored is not None and stored.as_of >= not_before:
            return self._entry(key, stored)
        return self._fly(key, not_before)

    def peek(self, agent_id: str, service: str) -> CacheEntry:
        """What the cache holds, without asking the service: live, stale, or unknown when there is nothing young enough.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
        """
        key = (checked_name(agent_id), service_named(service))
        not_before = self._clock() - timedelta(seconds=self._ttl_s[key[1]])
        stored = self._on_shelf(lambda shelf: shelf.load(key))
        if stored is not None and stored.as_of >= not_before:
            return self._entry(key, stored)
        return self._without_answer(key, "nobody has asked the service lately")

    def refresh(self, agent_id: str, service: str) -> CacheEntry:
        """Ask the service and keep the answer; what a worker does ahead of need. As `get` with `force_refresh`."""
        return self.get(agent_id, service, force_refresh=True)

    def invalidate(self, agent_id: str, service: str) -> None:
        """Drop what an operation at `service` has made out of date, here and for readers that are under way.

        Casino, escrow and faucet share a balance, so each of them drops all three. While Redis is away the drop is
        owed, and done before Redis is used again by this process.
        """
        keys: list[Key] = [(checked_name(agent_id), each) for each in spoiled_by(service_named(service))]
        self._local.forget(keys)
        if self._redis is not None:
            self._owe(keys)
            self._on_shelf(lambda _shelf: None)

    def portfolio_snapshot(self, agent_id: str, force_refresh: bool = False) -> Portfolio:  # noqa: FBT001, FBT002  as get
        """All six states, read side by side. A service that cannot be read is unknown, with the reason.

        Raises:
            InvalidInput: a malformed agent id.
        """
        checked_name(agent_id)
        with ThreadPoolExecutor(max_workers=len(Service), thread_name_prefix="portfolio") as pool:
            legs = pool.map(lambda service: self._leg(agent_id, service, force_refresh=force_refresh), Service)
            return Portfolio(agent_id, {leg.service: leg for leg in legs})

    def _leg(self, agent_id: str, service: Service, *, force_refresh: bool) -> CacheEntry:
        try:
            return self.get(agent_id, service, force_refresh=force_refresh)
        except ServiceError as error:
            return CacheEntry(agent_id=agent_id, service=service, quality=Quality.UNKNOWN, reason=error.message)

    def _fly(self, key: Key, not_before: datetime) -> CacheEntry:
        """Ask the service, or wait for whoever is asking it."""
        began = self._clock()
        patience_s = 2 * self._gateway.deadline_s
        with self._flights.join(key, patience_s) as flight:
            if flight is None:
                return self._without_answer(key, "another thread has been asking for too long")
            if flight.failed_at is not None and flight.failed_at >= began:
                return self._without_answer(key, flight.failure)
            return self._read_once(key, not_before, flight, time.monotonic() + patience_s)

    def _read_once(self, key: Key, not_before: datetime, flight: Flight, until: float) -> CacheEntry:
        """Take the lock that all processes share and ask; while another has it, look for what it brings."""
        hold_s = self._gateway.deadline_s + 1
        while True:
            stored = self._on_shelf(lambda shelf: shelf.load(key))
            if stored is not None and stored.as_of >= not_before:
                return self._entry(key, stored)
            token = self._on_shelf(lambda shelf: shelf.lock(key, hold_s))
            if token is not None:
                return self._locked(key, not_before, flight, token)
            if time.monotonic() > until:
                return self._without_answer(key, "another process has been asking for too long")
            time.sleep(LOOK_AGAIN_S)

    def _locked(self, key: Key, not_before: datetime, flight: Flight, token: str) -> CacheEntry:
        """With the lock in hand look once more, since its last holder may have just stored an answer; then ask."""
        try:
            stored = self._on_shelf(lambda shelf: shelf.load(key))
            return self._entry(key, stored) if stored and stored.as_of >= not_before else self._ask(key, flight)
        finally:
            self._on_shelf(lambda shelf: shelf.unlock(key, token))

    def _ask(self, key: Key, flight: Flight) -> CacheEntry:
        agent_id, service = key
        epoch = self._on_shelf(lambda shelf: shelf.epoch(key))
        as_of = self._clock()
        try:
            stored = Stored(as_of, read_state(self._gateway, agent_id, service))
            self._keep(key, stored, epoch)
        except ServiceError as error:
            if isinstance(error, ServiceRejected) and error.retry_after is None:
                raise
            flight.failed_at, flight.failure = self._clock(), error.message
            return self._without_answer(key, error.message)
        return self._entry(key, stored)

    def _keep(self, key: Key, stored: Stored, epoch: str) -> None:
        keep_s = self._ttl_s[key[1]] * self._stale_times_ttl
        try:
            self._on_shelf(lambda shelf: shelf.store(key, stored, epoch, keep_s))
        except InvalidInput as error:
            raise ServiceAnswerInvalid(f"{key[1]}: {error.message}") from error

    def _entry(self, key: Key, stored: Stored) -> CacheEntry:
        return self._described(key, stored, Quality.LIVE, None)

    def _without_answer(self, key: Key, reason: str) -> CacheEntry:
        """The last reading as stale, or as unknown when it is too old or there is none."""
        agent_id, service = key
        stored = self._on_shelf(lambda shelf: shelf.load(key))
        if stored is None:
            return CacheEntry(agent_id=agent_id, service=service, quality=Quality.UNKNOWN, reason=reason)
        age_s = (self._clock() - stored.as_of).total_seconds()
        in_limit = age_s <= self._ttl_s[service] * self._stale_times_ttl
        return self._described(key, stored, Quality.STALE if in_limit else Quality.UNKNOWN, reason)

    def _described(self, key: Key, stored: Stored, quality: Quality, reason: str | None) -> CacheEntry:
        return CacheEntry(
            agent_id=key[0],
            service=key[1],
            quality=quality,
            state=None if quality is Quality.UNKNOWN else stored.state,
            as_of=stored.as_of,
            age_s=max((self._clock() - stored.as_of).total_seconds(), 0.0),
            reason=reason,
        )

    def _on_shelf(self, use: Callable[[Shelf], T]) -> T:
        """Use Redis, or this process's own entries while Redis is away."""
        if self._redis is not None and time.monotonic() >= self._redis_rests_until:
            try:
                self._pay_owed(self._redis)
                return use(self._redis)
            except RedisUnavailable:
                self._redis_rests_until = time.monotonic() + REDIS_REST_S
        return use(self._local)

    def _pay_owed(self, shelf: RedisShelf) -> None:
        with self._owed_lock:
            owed, self._owed = self._owed, set()
        by_agent: dict[str, list[Key]] = {}
        for key in owed:
            by_agent.setdefault(key[0], []).append(key)
        try:
            for keys in by_agent.values():
                shelf.forget(keys)
        except RedisUnavailable:
            self._owe(owed)
            raise

    def _owe(self, keys: Iterable[Key]) -> None:
        """Note drops for Redis; beyond 10,000 an entry is left to its time to live."""
        with self._owed_lock:
            self._owed.update(itertools.islice(keys, max(MOST_OWED - len(self._owed), 0)))
