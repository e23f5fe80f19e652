"""The state cache: readings of the six services, shared by all processes, honest about their age.

One reader asks a service while all others wait for its answer; a mutation invalidates every reading that it spoils; a
service that does not answer leaves a stale reading for a while, then none, and never a zero.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec
from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import AgentStateError, InvalidInput, ServiceAnswerInvalid, ServiceError, ServiceRejected
from agentstate.ids import validate_name
from agentstate.services.cache.backends import Shelves
from agentstate.services.cache.entry import CacheEntry, CacheKey, StoredEntry, to_micros
from agentstate.services.cache.portfolio import Portfolio
from agentstate.services.cache.quality import Quality
from agentstate.services.cache.reading import validate_state
from agentstate.services.cache.refresh_ahead import RefreshAhead
from agentstate.services.cache.single_flight import HOLD_S, Asker, Fits
from agentstate.services.cache.source import Reading, StateSource
from agentstate.services.cache.zero_check import judged
from agentstate.services.http.json_wire import Body, encode_json
from agentstate.services.operations.names import TTL_S, Service, service_named, spoiled_by

STALE_TIMES_TTL = 10.0
"""A reading is shown as stale until it is ten times as old as it may be live; then there is none."""

JITTER = 0.1
"""A reading is live for up to a tenth less than its time, so that what was read together does not end together."""

AHEAD = 1 / 3
"""What is read in the last third of its time is in use, and read anew ahead of need."""

HIT, MISS, REFRESH = "hit", "miss", "refresh"
OUTCOMES = (HIT, MISS, REFRESH, Quality.STALE.value, Quality.UNKNOWN.value)
"""What a read came to: taken from the cache; asked for, as none was there or because it had to be; older, or none."""

REFRESHERS = 8
MOST_TRIES = 3
SECOND = 1_000_000


class StateCache:
    """States of agents at services, read through Redis. Safe to share between threads.

    Args:
        source: reads a state from its service.
        redis: a synchronous client with timeouts; None keeps entries in this process alone.
        ttl_s: seconds for which a reading is live, by service; the guide's values when left out.
        stale_times_ttl: limit for stale readings, in multiples of their time to live.
        hold_s: how soon another process asks when the one that was asking was killed, in seconds.
        wake: wakes a worker that reads ahead what is in use; None leaves that to the schedule.
        count: is told each read by an agent, as (service, outcome), outcome one of `OUTCOMES`; must not wait.
        draw: gives numbers from 0 to 1, for the jitter.
        clock: present time, UTC.
    """

    def __init__(
        self,
        source: StateSource,
        redis: Redis | None = None,
        *,
        ttl_s: Mapping[Service, float] = TTL_S,
        stale_times_ttl: float = STALE_TIMES_TTL,
        hold_s: float = HOLD_S,
        wake: Callable[[], None] | None = None,
        count: Callable[[str, str], None] | None = None,
        draw: Callable[[], float] = random.random,
        clock: Clock = utc_now,
    ) -> None:
        self._source = source
        self._ttl_s = ttl_s
        self._stale_times_ttl = stale_times_ttl
        self._wake = wake
        self._count = count
        self._draw = draw
        self._clock = clock
        self._shelves = Shelves(redis)
        self._ahead = None if redis is None else RefreshAhead(redis)
        self._asker = Asker(source, self._shelves, self._stored, self._keep_s, clock, hold_s=hold_s)
        self._behind: ThreadPoolExecutor | None = None
        self._behind_keys: set[CacheKey] = set()
        self._behind_lock = threading.Lock()

    def get(
        self,
        agent_id: str,
        service: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  the guide's shape
        *,
        stale_for_s: float = 0.0,
    ) -> CacheEntry:
        """The agent's state at a service: from the cache while it is live, else from the service.

        Args:
            agent_id: whose.
            service: one of the six.
            force_refresh: ask the service even when a live reading is there.
            stale_for_s: take a reading that has been out of date for up to so many seconds at once, marked stale, and
                let it be read anew meanwhile; 0 waits for the new one.

        Returns:
            A live entry (or one that says why it is less); a stale one when the service cannot be read and the limit
            is not passed; else an unknown one, which has no state.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
            ServiceRejected: the service knows no such agent, or does not accept our key.
        """
        key, began = self._key(agent_id, service), to_micros(self._clock())
        if force_refresh:
            return self._counted(self._bring(key, lambda stored: stored.as_of >= began, again=True), REFRESH)
        stored = self._shelves.load(key)
        if stored is not None and stored.fresh_until > began:
            return self._counted(self._live(key, stored, began), HIT)
        limit_us = int(min(stale_for_s, self._keep_s(key)) * SECOND)
        if stored is not None and began < stored.fresh_until + limit_us:
            self._read_behind(key)
            entry = CacheEntry(key, Quality.STALE, stored, now_us=began, reason="it is being read anew")
            return self._counted(entry, HIT)
        return self._counted(self._bring(key, self._is_fresh), MISS)

    def peek(self, agent_id: str, service: str) -> CacheEntry:
        """What the cache holds, without asking the service: live, stale, or unknown when there is nothing young enough.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
        """
        key = self._key(agent_id, service)
        stored = self._shelves.load(key)
        if stored is not None and self._is_fresh(stored):
            return self._entry(key, stored)
        return self._aged(key, stored, "nobody has asked the service lately")

    def refresh(self, agent_id: str, service: str) -> CacheEntry:
        """Ask the service and keep the answer; what a worker does ahead of need. As `get` with `force_refresh`."""
        return self.get(agent_id, service, force_refresh=True)

    def invalidate(self, agent_id: str, service: str, *, others: Iterable[str] = ()) -> None:
        """Drop what an operation at `service` has made out of date, here and for readers that are under way.

        Casino, escrow and faucet share a balance, so each of them drops all three; for `others`, agents whose money
        the operation moved too, the same. While Redis is away the drop is owed, and done before Redis is used again by
        this process.
        """
        spoiled = spoiled_by(service_named(service))
        agents = [validate_name(each) for each in (agent_id, *others)]
        for each in agents:
            self._shelves.forget([self._key(each, name) for name in spoiled])

    def write_through(self, agent_id: str, service: str, state: Body, *, as_of: datetime | None = None) -> CacheEntry:
        """Keep a state that the service itself has told after a confirmed operation, and drop what that spoiled.

        Only for the whole state, as a read would give it: amounts in answers to operations are rounded.

        Args:
            agent_id: whose.
            service: where.
            state: as the service told it.
            as_of: when it held; now when left out.

        Raises:
            ServiceAnswerInvalid: it is another agent's, or lacks a member; the cache is left as it was.
        """
        key, now = self._key(agent_id, service), self._clock()
        validate_state(agent_id, key.service, state)
        stored = self._stored(key, as_of or now, Reading(state), None)
        spoiled = [self._key(agent_id, each) for each in spoiled_by(key.service)]
        if self._shelves.away:
            self._shelves.forget(spoiled)
        self._shelves.use(lambda shelf: shelf.replace_entry(key, stored, self._keep_s(key), spoiled))
        return self._entry(key, stored)

    def portfolio_snapshot(
        self,
        agent_id: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  as get
        *,
        in_flight: Callable[[], Mapping[str, int]] = dict,
    ) -> Portfolio:
        """All six states, read side by side. A service that cannot be read is unknown, with the reason.

        When an operation of the agent ended meanwhile the states are read again: money that moved from one service to
        another would else be seen twice, or not at all.

        Args:
            agent_id: whose.
            force_refresh: ask the services even when live readings are there.
            in_flight: tells what our books hold for calls whose outcome is open, in micro-USDC by service; asked
                before the services and after.

        Raises:
            InvalidInput: a malformed agent id.
        """
        validate_name(agent_id)
        for _ in range(MOST_TRIES):
            mark, flying = self._shelves.use(lambda shelf: shelf.invalidation_epoch(agent_id)), in_flight()
            legs = self._legs(agent_id, force_refresh=force_refresh)
            if self._shelves.use(lambda shelf: shelf.invalidation_epoch(agent_id)) == mark:
                return Portfolio(agent_id, legs, _most(flying, in_flight()))
        return Portfolio(agent_id, legs, in_flight(), moving=True)

    def get_or_unknown(self, agent_id: str, service: Service, *, force_refresh: bool = False) -> CacheEntry:
        """As `get`; what the service refuses is an unknown entry with the reason."""
        try:
            return self.get(agent_id, service, force_refresh)
        except ServiceError as error:
            return CacheEntry(self._key(agent_id, service), Quality.UNKNOWN, reason=error.message)

    def refresh_due(self, limit: int = 64) -> int:
        """Read anew, ahead of need, what is in use and soon out of date; return how many entries were looked at."""
        if self._ahead is None:
            return 0
        # What another account's reader noted is left to a worker with that account's key.
        keys = [key for key in self._ahead.take_due(limit) if key == self._key(key.agent_id, key.service)]
        with ThreadPoolExecutor(REFRESHERS, thread_name_prefix="ahead") as pool:
            return sum(pool.map(self._renewed, keys))

    def close(self) -> None:
        """Wait for what is being read behind the readers."""
        with self._behind_lock:
            behind, self._behind = self._behind, None
        if behind is not None:
            behind.shutdown(cancel_futures=True)

    def _key(self, agent_id: str, service: str) -> CacheKey:
        named = service_named(service)
        return CacheKey(validate_name(agent_id), named, self._source.tenant(agent_id, named))

    def _legs(self, agent_id: str, *, force_refresh: bool) -> dict[Service, CacheEntry]:
        """What is live at once; the rest side by side."""
        keys = [self._key(agent_id, service) for service in Service]
        found = [None] * len(keys) if force_refresh else self._shelves.use(lambda shelf: shelf.load_entries(keys))
        now = to_micros(self._clock())
        legs = {
            key.service: self._counted(self._live(key, stored, now), HIT)
            for key, stored in zip(keys, found, strict=True)
            if stored is not None and stored.fresh_until > now
        }
        missing = [service for service in Service if service not in legs]
        if missing:
            with ThreadPoolExecutor(len(missing), thread_name_prefix="portfolio") as pool:
                asked = pool.map(
                    lambda service: self.get_or_unknown(agent_id, service, force_refresh=force_refresh), missing
                )
                legs.update(zip(missing, asked, strict=True))
        return {service: legs[service] for service in Service}

    def _is_fresh(self, stored: StoredEntry) -> bool:
        return stored.fresh_until > to_micros(self._clock())

    def _live(self, key: CacheKey, stored: StoredEntry, now: int) -> CacheEntry:
        """A live entry; when it is read near its end, it is in use and is to be read ahead."""
        near = stored.fresh_until - now < (stored.fresh_until - stored.as_of) * AHEAD
        if (
            near
            and self._ahead is not None
            and self._ahead.note_in_use(key, stored.fresh_until)
            and self._wake is not None
        ):
            self._wake()
        return CacheEntry(key, stored.quality, stored, now_us=now, reason=stored.reason)

    def _counted(self, entry: CacheEntry, outcome: str) -> CacheEntry:
        if self._count is not None:
            worse = entry.quality in (Quality.STALE, Quality.UNKNOWN)
            self._count(entry.service, entry.quality if worse else outcome)
        return entry

    def _renewed(self, key: CacheKey) -> bool:
        ahead = int(self._ttl_s[key.service] * AHEAD * SECOND)
        self._quietly(key, lambda stored: stored.fresh_until > to_micros(self._clock()) + ahead)
        return True

    def _quietly(self, key: CacheKey, fits: Fits) -> None:
        """Read for somebody who comes later; what goes wrong is remembered on the shelf, and told to that one."""
        try:
            self._bring(key, fits)
        except AgentStateError:
            return

    def _read_behind(self, key: CacheKey) -> None:
        """Read an entry anew behind the reader's back, once at a time."""
        with self._behind_lock:
            if key in self._behind_keys:
                return
            self._behind_keys.add(key)
            if self._behind is None:
                self._behind = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="behind")
            self._behind.submit(self._behind_done, key)

    def _behind_done(self, key: CacheKey) -> None:
        try:
            self._quietly(key, self._is_fresh)
        finally:
            with self._behind_lock:
                self._behind_keys.discard(key)

    def _bring(self, key: CacheKey, fits: Fits, *, again: bool = False) -> CacheEntry:
        """Ask the service, or wait for whoever is asking it."""
        brought = self._asker.bring(key, fits, again=again)
        if isinstance(brought, StoredEntry):
            return self._entry(key, brought)
        if brought.code is not None:
            raise ServiceRejected(brought.reason, code=brought.code)
        return self._aged(key, self._shelves.load(key), brought.reason)

    def _stored(self, key: CacheKey, as_of: datetime, reading: Reading, before: StoredEntry | None) -> StoredEntry:
        """What is kept of a reading; a sudden zero in it is marked."""
        lives_s = self._ttl_s[key.service] * (1 - JITTER * self._draw())
        try:
            content = encode_json(reading.state)
        except (TypeError, ValueError, InvalidInput) as error:
            raise ServiceAnswerInvalid(f"{key.service}: {str(error)[:200]}. Nothing was stored.") from error
        begin = to_micros(as_of)
        fresh = StoredEntry(
            as_of=begin,
            fresh_until=begin + int(lives_s * SECOND),
            content=msgspec.Raw(content),
            quality=reading.quality,
            reason=reading.reason,
        )
        return judged(key.service, fresh, before)

    def _entry(self, key: CacheKey, stored: StoredEntry) -> CacheEntry:
        return CacheEntry(key, stored.quality, stored, now_us=to_micros(self._clock()), reason=stored.reason)

    def _aged(self, key: CacheKey, stored: StoredEntry | None, reason: str) -> CacheEntry:
        """The last reading as stale, or as unknown when it is too old or there is none."""
        now = to_micros(self._clock())
        in_limit = stored is not None and now - stored.as_of <= self._keep_s(key) * SECOND
        return CacheEntry(key, Quality.STALE if in_limit else Quality.UNKNOWN, stored, now_us=now, reason=reason)

    def _keep_s(self, key: CacheKey) -> float:
        return self._ttl_s[key.service] * self._stale_times_ttl


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}
