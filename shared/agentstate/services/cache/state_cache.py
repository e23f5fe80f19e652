"""The state cache: readings of the six services, shared by all processes, with their age and quality.

One reader asks a service while the others wait for its answer; an operation invalidates every reading it affects; a
service that does not answer leaves a stale entry for a while, then an unknown one, and never a zero. Some services
answer 200 with amount 0 when they cannot tell (the wallet on Solana and Tron), so an amount that drops to zero is
suspect until an operation of our own explains it, which drops the earlier reading, or until it has been shown for ten
minutes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec
from msgspec.structs import replace
from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import AgentStateError, InvalidInput, ServiceAnswerInvalid, ServiceError, ServiceRejected
from agentstate.ids import validate_name
from agentstate.services.cache.backends import FallbackBackend
from agentstate.services.cache.entry import CacheEntry, CacheKey, StoredEntry, from_micros, to_micros
from agentstate.services.cache.portfolio import Portfolio
from agentstate.services.cache.reading import Quality, parse_parts, validate_state
from agentstate.services.cache.refresh_ahead import REFRESHERS, BackgroundRefresher, RefreshAhead
from agentstate.services.cache.single_flight import HOLD_S, Fits, SingleFlightLoader
from agentstate.services.cache.source import Reading, StateSource
from agentstate.services.operations.names import TTL_S, Service, parse_service, services_sharing_balance
from agentstate.services.wire import Body, encode_json

STALE_TIMES_TTL = 10.0
"""An entry is served stale until its age is ten times its time to live; afterwards it is unknown."""

JITTER = 0.1
"""An entry lives up to a tenth shorter than its time, so that entries loaded together do not expire together."""

AHEAD = 1 / 3
"""An entry that is read in the last third of its life is in use, and reloaded before it expires."""

HIT, MISS, REFRESH = "hit", "miss", "refresh"
OUTCOMES = (HIT, MISS, REFRESH, Quality.STALE.value, Quality.UNKNOWN.value)
"""Outcomes of a read: cached; loaded; loaded by request; stale; unknown."""

MOST_TRIES = 3
SECOND = 1_000_000
_FROM_FUTURE = "the last reading is dated in the future: a host's clock is ahead"


class StateCache:
    """States of agents at services, read through Redis. Safe to share between threads.

    Args:
        source: reads a state from its service.
        redis: a synchronous client with timeouts; None keeps entries in this process alone.
        ttl_s: seconds for which a reading is live, by service; the guide's values when left out.
        stale_times_ttl: limit for stale readings, in multiples of their time to live.
        hold_s: seconds after which another process asks when the one that was asking was killed.
        wake: wakes a worker that reloads entries in use; None leaves that to the schedule.
        count: called for each read by an agent with (service, outcome), outcome one of `OUTCOMES`; must not block.
        draw: returns numbers from 0 to 1, for the jitter.
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
        self._backend = FallbackBackend(redis)
        self._refresh_ahead = None if redis is None else RefreshAhead(redis)
        self._loader = SingleFlightLoader(source, self._backend, self._make_entry, self._keep_s, clock, hold_s=hold_s)
        self._refresher = BackgroundRefresher(lambda key: self._load(key, self._is_live))

    def get(
        self,
        agent_id: str,
        service: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  the guide's shape
        *,
        stale_for_s: float = 0.0,
    ) -> CacheEntry:
        """Return the agent's state at a service: from the cache while it is live, else from the service.

        Args:
            agent_id: the agent.
            service: one of the six.
            force_refresh: ask the service even when a live reading is cached.
            stale_for_s: return a reading that expired up to this many seconds ago at once, marked stale, and reload it
                in the background; 0 waits for the new one.

        Returns:
            A live entry (or one that says why it is less); a stale one when the service cannot be read and the limit
            is not passed; else an unknown one, which has no state.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
            ServiceRejected: the service knows no such agent, or does not accept our key.
        """
        key, began = self._key(agent_id, service), to_micros(self._clock())
        if force_refresh:
            entry = self._load(key, lambda stored: began <= stored.as_of <= to_micros(self._clock()), retry_failed=True)
            return self._count_read(entry, REFRESH)
        stored = self._backend.load_entry(key)
        if stored is not None and stored.is_live(began):
            return self._count_read(self._serve_live(key, stored, began), HIT)
        limit_us = int(min(stale_for_s, self._keep_s(key)) * SECOND)
        if stored is not None and stored.as_of <= began < stored.fresh_until + limit_us:
            self._refresher.submit(key)
            entry = CacheEntry(key, Quality.STALE, stored, now_us=began, reason="it is being reloaded")
            return self._count_read(entry, HIT)
        return self._count_read(self._load(key, self._is_live), MISS)

    def peek(self, agent_id: str, service: str) -> CacheEntry:
        """Return the cached state without asking the service: live, stale, or unknown when none is young enough.

        Raises:
            InvalidInput: a malformed agent id, or no such service.
        """
        key = self._key(agent_id, service)
        stored = self._backend.load_entry(key)
        if stored is not None and self._is_live(stored):
            return self._cache_entry(key, stored)
        return self._stale_or_unknown(key, stored, "the service was not asked lately")

    def refresh(self, agent_id: str, service: str) -> CacheEntry:
        """Ask the service and store the answer; the same as `get` with `force_refresh`."""
        return self.get(agent_id, service, force_refresh=True)

    def invalidate(self, agent_id: str, service: str, *, others: Iterable[str] = ()) -> None:
        """Drop the entries that an operation at `service` made out of date, also those being loaded now.

        Casino, escrow and faucet share a balance, so each of them drops all three; the same for `others`, agents whose
        money the operation moved too. While Redis is unavailable the drop is owed, and applied before this process uses
        Redis again.
        """
        invalidated = services_sharing_balance(parse_service(service))
        agents = [validate_name(each) for each in (agent_id, *others)]
        for each in agents:
            self._backend.drop_entries([self._key(each, name) for name in invalidated])

    def write_through(self, agent_id: str, service: str, state: Body, *, as_of: datetime | None = None) -> CacheEntry:
        """Store a state that the service returned after a confirmed operation, and drop the entries it invalidates.

        Only for the whole state, as a read would give it: amounts in answers to operations are rounded.

        Args:
            agent_id: the agent.
            service: the service.
            state: as the service returned it.
            as_of: when it held; now when left out.

        Raises:
            ServiceAnswerInvalid: it is another agent's, or lacks a member; the cache is left as it was.
        """
        key, now = self._key(agent_id, service), self._clock()
        validate_state(agent_id, key.service, state)
        stored = self._make_entry(key, min(as_of or now, now), Reading(state), None)
        invalidated = [self._key(agent_id, each) for each in services_sharing_balance(key.service)]
        if self._backend.is_away:
            self._backend.drop_entries(invalidated)
        keep_s = self._keep_s(key)
        self._backend.call_backend(lambda backend: backend.replace_entry(key, stored, keep_s, invalidated))
        return self._cache_entry(key, stored)

    def portfolio_snapshot(
        self,
        agent_id: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  as get
        *,
        in_flight: Callable[[], Mapping[str, int]] = dict,
    ) -> Portfolio:
        """Return all six states, read in parallel. A service that cannot be read is unknown, with the reason.

        When an operation of the agent ended meanwhile the states are read again: money that moved from one service to
        another would else be seen twice, or not at all.

        Args:
            agent_id: the agent.
            force_refresh: ask the services even when live readings are cached.
            in_flight: returns what our books hold for calls whose outcome is open, in micro-USDC by service; asked
                before the services and after.

        Raises:
            InvalidInput: a malformed agent id.
        """
        validate_name(agent_id)
        for _ in range(MOST_TRIES):
            epoch, flying = (
                self._backend.call_backend(lambda backend: backend.invalidation_epoch(agent_id)),
                in_flight(),
            )
            legs = self._read_legs(agent_id, force_refresh=force_refresh)
            if self._backend.call_backend(lambda backend: backend.invalidation_epoch(agent_id)) == epoch:
                now_flying = in_flight()
                names = sorted({*flying, *now_flying})
                most = {name: max(flying.get(name, 0), now_flying.get(name, 0)) for name in names}
                return Portfolio(agent_id, legs, most)
        return Portfolio(agent_id, legs, in_flight(), moving=True)

    def get_or_unknown(self, agent_id: str, service: Service, *, force_refresh: bool = False) -> CacheEntry:
        """Return the same as `get`; a refusal by the service gives an unknown entry with the reason."""
        try:
            return self.get(agent_id, service, force_refresh)
        except ServiceError as error:
            return CacheEntry(self._key(agent_id, service), Quality.UNKNOWN, reason=error.message)

    def refresh_due(self, limit: int = 64) -> int:
        """Reload entries that are in use and expire soon; return how many were looked at."""
        if self._refresh_ahead is None:
            return 0
        # Notes of another account's readers are left to a worker with that account's key.
        keys = [key for key in self._refresh_ahead.take_due(limit) if key == self._key(key.agent_id, key.service)]

        def reload(key: CacheKey) -> None:
            ahead_us = int(self._ttl_s[key.service] * AHEAD * SECOND)

            def has_life_left(stored: StoredEntry) -> bool:
                now = to_micros(self._clock())
                return stored.as_of <= now and stored.fresh_until > now + ahead_us

            try:
                self._load(key, has_life_left)
            except AgentStateError:
                return  # the backend remembers the failure for the next reader

        with ThreadPoolExecutor(REFRESHERS, thread_name_prefix="ahead") as pool:
            list(pool.map(reload, keys))
        return len(keys)

    def close(self) -> None:
        """Wait for the background reloads under way."""
        self._refresher.close()

    def _key(self, agent_id: str, service: str) -> CacheKey:
        named = parse_service(service)
        return CacheKey(validate_name(agent_id), named, self._source.tenant(agent_id, named))

    def _keep_s(self, key: CacheKey) -> float:
        return self._ttl_s[key.service] * self._stale_times_ttl

    def _is_live(self, stored: StoredEntry) -> bool:
        return stored.is_live(to_micros(self._clock()))

    def _read_legs(self, agent_id: str, *, force_refresh: bool) -> dict[Service, CacheEntry]:
        """Return an entry per service: live ones by one request to the backend, the others loaded in parallel."""
        keys = [self._key(agent_id, service) for service in Service]
        found: list[StoredEntry | None] = [None] * len(keys)
        if not force_refresh:
            found = self._backend.call_backend(lambda backend: backend.load_entries(keys))
        now = to_micros(self._clock())
        legs = {
            key.service: self._count_read(self._serve_live(key, stored, now), HIT)
            for key, stored in zip(keys, found, strict=True)
            if stored is not None and stored.is_live(now)
        }
        missing = [service for service in Service if service not in legs]
        if missing:
            with ThreadPoolExecutor(len(missing), thread_name_prefix="portfolio") as pool:
                loaded = pool.map(
                    lambda service: self.get_or_unknown(agent_id, service, force_refresh=force_refresh), missing
                )
                legs.update(zip(missing, loaded, strict=True))
        return {service: legs[service] for service in Service}

    def _load(self, key: CacheKey, fits: Fits, *, retry_failed: bool = False) -> CacheEntry:
        """Load an entry that fits; stale or unknown when the service cannot be read, ServiceRejected if it refuses."""
        result = self._loader.load(key, fits, retry_failed=retry_failed)
        if isinstance(result, StoredEntry):
            return self._cache_entry(key, result)
        if result.code is not None:
            raise ServiceRejected(result.reason, code=result.code)
        return self._stale_or_unknown(key, self._backend.load_entry(key), result.reason)

    def _make_entry(self, key: CacheKey, as_of: datetime, reading: Reading, before: StoredEntry | None) -> StoredEntry:
        """Make the entry to store of a reading; a sudden zero in it is marked as suspect."""
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
        return mark_suspect(key.service, fresh, before)

    def _cache_entry(self, key: CacheKey, stored: StoredEntry) -> CacheEntry:
        return CacheEntry(key, stored.quality, stored, now_us=to_micros(self._clock()), reason=stored.reason)

    def _serve_live(self, key: CacheKey, stored: StoredEntry, now_us: int) -> CacheEntry:
        """Return a live entry; one that expires soon is noted for reload, as it is in use."""
        expires_soon = stored.fresh_until - now_us < (stored.fresh_until - stored.as_of) * AHEAD
        if (
            expires_soon
            and self._refresh_ahead is not None
            and self._refresh_ahead.note_in_use(key, stored.fresh_until)
            and self._wake is not None
        ):
            self._wake()
        return CacheEntry(key, stored.quality, stored, now_us=now_us, reason=stored.reason)

    def _stale_or_unknown(self, key: CacheKey, stored: StoredEntry | None, reason: str) -> CacheEntry:
        """Return the last reading as stale, or as unknown when it is too old, dated in the future, or missing."""
        now = to_micros(self._clock())
        if stored is not None and stored.is_from_future(now):
            return CacheEntry(key, Quality.UNKNOWN, reason=f"{reason}; {_FROM_FUTURE}")
        is_within_limit = stored is not None and now - stored.as_of <= self._keep_s(key) * SECOND
        quality = Quality.STALE if is_within_limit else Quality.UNKNOWN
        return CacheEntry(key, quality, stored, now_us=now, reason=reason)

    def _count_read(self, entry: CacheEntry, outcome: str) -> CacheEntry:
        if self._count is not None:
            is_worse = entry.quality in (Quality.STALE, Quality.UNKNOWN)
            self._count(entry.service, entry.quality if is_worse else outcome)
        return entry


BELIEVED_AFTER_US = 600_000_000


def mark_suspect(service: Service, fresh: StoredEntry, before: StoredEntry | None) -> StoredEntry:
    """Return `fresh`, marked as a suspect zero when it shows zero where `before` showed money."""
    if before is None or fresh.quality is not Quality.LIVE:
        return fresh
    now = parse_parts(service, fresh.state)
    try:
        earlier = parse_parts(service, before.state)
    except ServiceAnswerInvalid:  # stored by another version
        earlier = {}
    shown = sum(now.values())
    if before.quality is Quality.SUSPECT_ZERO and before.before is not None and before.since is not None:
        since = min(before.since, fresh.as_of)  # the host that saw it first may have a fast clock
        if shown >= before.before or fresh.as_of - since >= BELIEVED_AFTER_US or 0 not in now.values():
            return fresh
        amount = before.before
    else:
        lost = sum(amount for part, amount in earlier.items() if amount > 0 and now.get(part) == 0)
        if not lost:
            return fresh
        since, amount = fresh.as_of, shown + lost
    moment = from_micros(since).isoformat(timespec="seconds")
    reason = f"shown as 0 since {moment}, and none of our operations explains it"
    return replace(fresh, quality=Quality.SUSPECT_ZERO, reason=reason, before=amount, since=since)
