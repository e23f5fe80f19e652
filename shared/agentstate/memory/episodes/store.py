"""Episodic memory: what happened to an agent lately, newest first, in Redis, and all of it in the archive.

Redis has the newest; workers archive each episode before it leaves, and what was archived counts once however many
places hold it. While Redis is away the archive takes and gives what it can, and every answer says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import redis
from msgspec.structs import replace

from agentstate.clock import Clock
from agentstate.errors import Conflict, InvalidInput, NotFound, RedisUnavailable, StoreUnavailable, TooLarge
from agentstate.ids import new_hex, validate_name
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import WRITTEN_VERSION, Episode, micros, moment, packed
from agentstate.memory.episodes.recent import Limits, RecentEpisodes
from agentstate.settings import Settings

FUTURE_US = 86_400_000_000
"""How far ahead of this machine's clock an episode may be; a time in the wrong unit would stay newest for ever."""

MOST_AT_ONCE = 1_000
_TRIES = 8
_SECOND = 1_000_000

__all__ = ["Episode", "EpisodicStore"]


class EpisodicStore:
    """The episodes of one agent. Safe to share between threads.

    Args:
        recent: Redis, or what holds episodes there.
        agent_id: whose.
        settings: limits, for all agents and for this one.
        archive: where episodes go before they leave Redis; None: they end there.
        clock: present time, UTC; this machine's when left out.
    """

    def __init__(
        self,
        recent: redis.Redis | RecentEpisodes,
        agent_id: str,
        settings: Settings,
        *,
        archive: EpisodeArchive | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.agent_id = validate_name(agent_id)
        self.limits = limits_of(settings, agent_id)
        self._recent = recent if isinstance(recent, RecentEpisodes) else RecentEpisodes(recent, archived=bool(archive))
        self._archive = archive
        self._max_bytes = settings.max_payload_bytes
        self._clock = clock
        self._oldest_by_us = self.limits.ttl_s * _SECOND

    def record(
        self, event_type: str, payload: dict[str, Any], outcome: Any = None, *, at: datetime | None = None
    ) -> Episode:
        """Add an episode; two equal ones at one instant stay two.

        Args:
            event_type: a name such as `bet` or `escrow_open`.
            payload: what happened; Decimal, datetime and the like come back as they are.
            outcome: how it ended, when that is known.
            at: when it happened, aware; now when left out.

        Returns:
            The episode; `degraded` when Redis is away and the archive alone has it.

        Raises:
            InvalidInput: the type, the payload or the time is refused; TooLarge: payload and outcome are over
            `max_payload_bytes`. RedisUnavailable: Redis does not answer, and there is no archive; whether it was
            recorded is unknown. StoreUnavailable: neither does the archive.
        """
        now_us = self._now_us()
        episode = self._new(event_type, payload, outcome, at, now_us)
        try:
            kept, first = self._recent.record(episode, self.limits, self._oldest_us(now_us))
        except RedisUnavailable as error:
            return self._degraded([episode], error)[0]
        if first:
            self.restore()
        return episode if kept else replace(episode, kept=False)

    def record_many(self, items: Iterable[tuple[str, dict[str, Any], Any, datetime | None]]) -> list[Episode]:
        """Add episodes, each given as type, payload, outcome and time, in one journey; all are checked first.

        Raises as `record`. When Redis fails on the way, all go to the archive, where each counts once.
        """
        now_us = self._now_us()
        found = [self._new(event_type, payload, outcome, at, now_us) for event_type, payload, outcome, at in items]
        oldest_us, answers = self._oldest_us(now_us), list[tuple[bool, bool]]()
        try:
            for first in range(0, len(found), MOST_AT_ONCE):
                answers += self._recent.record_many(found[first : first + MOST_AT_ONCE], self.limits, oldest_us)
        except RedisUnavailable as error:
            return self._degraded(found, error)
        if any(first for _, first in answers):
            self.restore()
        return [each if stays else replace(each, kept=False) for each, (stays, _) in zip(found, answers, strict=True)]

    def get_recent(self, n: int = 50, event_type: str | None = None) -> list[Episode]:
        """The newest `n` episodes, newest first; of one type when named: the newest `n` of that type.

        As many as Redis keeps; older ones are in `range`. While Redis is away they come from the archive, marked
        `degraded`, without those that it has not got yet.

        Raises:
            InvalidInput: `n` is negative. RedisUnavailable: Redis does not answer, and there is no archive.
        """
        if n < 0:
            raise InvalidInput(f"n is {n}; it must be 0 or more.")
        if event_type is not None:
            validate_name(event_type, "event type")
        if n == 0:
            return []
        from_us = self._oldest_us(self._now_us())
        try:
            found = self._recent.recent(self.agent_id, n, event_type=event_type, from_us=from_us)
            if found is None and self._restored(from_us):
                found = self._recent.recent(self.agent_id, n, event_type=event_type, from_us=from_us)
        except RedisUnavailable as error:
            older = self._instead(error).recent(self.agent_id, n, event_type=event_type, from_us=from_us)
            return [replace(episode, degraded=True) for episode in older]
        return found or []

    def range(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        event_type: str | None = None,
        limit: int = 1_000,
    ) -> list[Episode]:
        """The newest `limit` episodes from `since` to before `until`, newest first, from Redis and the archive.

        Raises:
            InvalidInput: a time without zone, or a limit below 1. RedisUnavailable: as `get_recent`.
        """
        if limit < 1:
            raise InvalidInput(f"limit is {limit}; it must be 1 or more.")
        begin, end = micros(since), None if until is None else micros(until)
        older: Sequence[Episode] = ()
        away = False
        try:
            to = "+inf" if end is None else f"({end}"
            newer = self._recent.recent(self.agent_id, limit, event_type=event_type, from_us=begin, to=to) or []
        except RedisUnavailable as error:
            self._instead(error)
            newer, away = [], True
        if self._archive is not None:
            older = self._archive.recent(self.agent_id, limit, event_type=event_type, from_us=begin, before_us=end)
        return [replace(each, degraded=True) if away else each for each in _merged(newer, older)[:limit]]

    def update_outcome(self, episode: Episode | UUID, outcome: Any) -> Episode:
        """Say how an episode ended; what it was stays as it is, and the archive keeps every outcome that it was given.

        Returns:
            The episode; `degraded` when Redis is away and the archive alone has its outcome until it is back.

        Raises:
            NotFound: there is no such episode of this agent. InvalidInput, TooLarge: the outcome is refused.
            RedisUnavailable: Redis does not answer, and the archive does not have the episode.
            Conflict: it was changed again and again meanwhile; nothing was changed, call again.
        """
        episode_id, at_us = (episode.id, episode.at_us) if isinstance(episode, Episode) else (episode, None)
        for _ in range(_TRIES):
            try:
                found = self._updated_in_redis(episode_id, at_us, outcome)
                if found is None:
                    found = self._updated_in_archive(episode_id, at_us, outcome)
            except RedisUnavailable as error:
                found = self._updated_without_redis(episode_id, outcome, error)
            if found is not None:
                return found
        raise Conflict(f"the outcome of episode {episode_id} is being changed by others; nothing was changed.")

    def summarize_window(self, since: datetime) -> dict[str, Any]:
        """Counts of the episodes from `since` on, in Redis and in the archive, each counted once.

        Returns:
            `total_events`, `by_type` (name to count), `first_at` and `last_at` (None without any), `time_span_hours`
            between those two, and `degraded`: whether Redis was away, so that what the archive lacks is not counted.
        """
        begin = micros(since)
        degraded = False
        if self._archive is None:
            begin = max(begin, self._oldest_us(self._now_us()))
            by_type, first, last = self._recent.summarize(self.agent_id, begin)
        else:
            try:
                waiting = self._recent.waiting(self.agent_id, begin)
            except RedisUnavailable:
                waiting, degraded = [], True
            by_type, first, last = _counted(self._archive, self.agent_id, waiting, begin)
        return {
            "total_events": sum(by_type.values()),
            "by_type": by_type,
            "first_at": None if first is None else moment(first),
            "last_at": None if last is None else moment(last),
            "time_span_hours": 0.0 if first is None or last is None else timedelta(microseconds=last - first) / _HOUR,
            "degraded": degraded,
        }

    def count(self, event_type: str | None = None, *, since: datetime | None = None) -> int:
        """How many episodes Redis keeps, of a type and from a time on when named; `summarize_window` counts all.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if event_type is not None:
            validate_name(event_type, "event type")
        begin = self._oldest_us(self._now_us())
        begin = begin if since is None else max(begin, micros(since))
        return self._recent.count(self.agent_id, begin, event_type)

    def lost(self) -> int:
        """How many left Redis before the archive had them: more than 10,000 waited while no worker came."""
        return self._recent.lost(self.agent_id)

    def restore(self) -> None:
        """Give Redis what the archive has of the recent past, as far as both answer: it had nothing of the agent."""
        with suppress(RedisUnavailable):
            self._restored(self._oldest_us(self._now_us()))

    def _new(self, event_type: str, payload: dict[str, Any], outcome: Any, at: datetime | None, now_us: int) -> Episode:
        _checked_type(event_type)
        if not isinstance(payload, dict):
            raise InvalidInput(f"the payload is {type(payload).__name__}, not a dict. Nothing was recorded.")
        at_us = now_us if at is None else micros(at)
        if at_us > now_us + FUTURE_US:
            raise InvalidInput(f"the time {moment(at_us).isoformat()} is in the future. Nothing was recorded.")
        content = packed(payload, outcome)
        episode = Episode(WRITTEN_VERSION, self.agent_id, new_hex(), event_type, at_us, content)
        return self._sized(episode)

    def _changed(self, before: Episode, outcome: Any) -> Episode:
        return self._sized(replace(before, packed=packed(before.payload, outcome), revision=before.revision + 1))

    def _sized(self, episode: Episode) -> Episode:
        size = len(bytes(episode.packed))
        if size > self._max_bytes:
            raise TooLarge(
                f"the episode has {size:,} bytes, over the limit of {self._max_bytes:,} "
                "(AGENTSTATE_MAX_PAYLOAD_BYTES). Nothing was recorded."
            )
        return episode

    def _now_us(self) -> int:
        return time.time_ns() // 1_000 if self._clock is None else micros(self._clock())

    def _oldest_us(self, now_us: int) -> int:
        return now_us - self._oldest_by_us

    def _instead(self, error: RedisUnavailable) -> EpisodeArchive:
        """The archive, while Redis is away; without one, the error goes on."""
        if self._archive is None:
            raise error
        return self._archive

    def _degraded(self, found: Sequence[Episode], error: RedisUnavailable) -> list[Episode]:
        self._instead(error).add(found, bring_back=True)
        return [replace(episode, degraded=True) for episode in found]

    def _restored(self, from_us: int) -> bool:
        """Give Redis, which knows nothing of the agent, what the archive has of its recent past."""
        if self._archive is None:
            return False
        try:
            life = self._archive.life(self.agent_id)
            found = self._archive.recent(self.agent_id, min(self.limits.kept, MOST_AT_ONCE), from_us=from_us)
        except StoreUnavailable:
            return False
        self._recent.record_many(found[::-1], self.limits, from_us, life=life)
        return bool(found)

    def _updated_in_redis(self, episode_id: UUID, at_us: int | None, outcome: Any) -> Episode | None:
        before = self._recent.get(self.agent_id, episode_id, at_us)
        if before is None:
            return None
        after = self._changed(before, outcome)
        return after if self._recent.replace(before, after, self.limits) else None

    def _updated_in_archive(self, episode_id: UUID, at_us: int | None, outcome: Any) -> Episode | None:
        before = None if self._archive is None else self._archive.get(self.agent_id, episode_id)
        if before is not None:
            return self._added(self._changed(before, outcome))
        if self._recent.get(self.agent_id, episode_id, at_us) is None:
            raise NotFound(f"{self.agent_id} has no episode {episode_id}. Nothing was changed.")
        return None

    def _updated_without_redis(self, episode_id: UUID, outcome: Any, error: RedisUnavailable) -> Episode | None:
        before = self._instead(error).get(self.agent_id, episode_id)
        if before is None:
            raise RedisUnavailable(
                f"the archive has no episode {episode_id} of {self.agent_id}, and whether Redis has it cannot be told: "
                f"{error.message} Nothing was changed."
            ) from error
        return self._added(replace(self._changed(before, outcome), degraded=True), bring_back=True)

    def _added(self, after: Episode, *, bring_back: bool = False) -> Episode | None:
        """`after`, None when another revision of that number was archived meanwhile, or the agent forgotten."""
        return after if self._archive is not None and self._archive.revise(after, bring_back=bring_back) else None


_HOUR = timedelta(hours=1)


@lru_cache(maxsize=1_024, typed=True)
def _known_type(event_type: str) -> None:
    validate_name(event_type, "event type")


def _checked_type(event_type: object) -> None:
    _known_type(event_type if isinstance(event_type, str) else validate_name(event_type, "event type"))


def limits_of(settings: Settings, agent_id: str) -> Limits:
    """How much of this agent's past Redis keeps."""
    own = settings.episodes_limits.get(agent_id, {})
    return Limits(own.get("kept", settings.episodes_kept), own.get("ttl_s", settings.episodes_ttl_s))


def _merged(newer: Sequence[Episode], older: Sequence[Episode]) -> list[Episode]:
    """Both, newest first, each episode once and in its newest revision; of equal times the order of each is kept."""
    best: dict[UUID, Episode] = {}
    for episode in (*newer, *older):
        known = best.get(episode.id)
        if known is None or episode.revision > known.revision:
            best[episode.id] = episode
    return sorted(best.values(), key=lambda episode: -episode.at_us)


def _counted(
    archive: EpisodeArchive, agent_id: str, waiting: Sequence[Episode], begin: int
) -> tuple[dict[str, int], int | None, int | None]:
    """What waits for the archive, and what is there beside it."""
    by_type, first, last = archive.counts(agent_id, begin, without=(each.id for each in waiting))
    for each in waiting:
        by_type[each.event_type] = by_type.get(each.event_type, 0) + 1
    times = [at_us for at_us in (first, last, *(each.at_us for each in waiting)) if at_us is not None]
    return by_type, min(times, default=None), max(times, default=None)
