"""Episodic memory: recent events of an agent, newest first.

An episode is one committed row of the durable store, then a push to the copy in Redis that serves the newest of an
agent. Without Redis everything is read from the store: slower, and the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from agentstate.clock import Clock
from agentstate.errors import Conflict, InvalidInput, NotFound, RedisUnavailable, TooLarge
from agentstate.ids import new_ordered_hex, validate_name
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import WRITTEN_VERSION, Episode, from_micros, pack_content, to_micros
from agentstate.memory.episodes.forgetting import lock_agent
from agentstate.memory.episodes.lesson_jobs import LessonJobs
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.settings import Settings
from agentstate.state.secrecy import refuse_secrets
from agentstate.store.store import Transaction

FUTURE_US: Final = 86_400_000_000
"""How far ahead of this machine's clock an episode may be; a time in the wrong unit would stay newest for ever."""
_TRIES: Final = 8
_SECOND: Final = 1_000_000
_HOUR: Final = timedelta(hours=1)

__all__ = ["Episode", "EpisodicStore"]


class EpisodicStore:
    """The episodes of one agent. Safe to share between threads.

    Args:
        archive: the durable rows.
        agent_id: the agent.
        settings: limits, for all agents and for this one.
        recent: the copies in Redis; None reads everything from the durable store.
        lessons: submits the jobs that draw lessons; None draws none.
        clock: present time, UTC; this machine's when left out.
    """

    def __init__(
        self,
        archive: EpisodeArchive,
        agent_id: str,
        settings: Settings,
        *,
        recent: RecentEpisodes | None = None,
        lessons: LessonJobs | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.agent_id = validate_name(agent_id)
        own = settings.episodes_limits.get(agent_id, {})
        self.kept = own.get("kept", settings.episodes_kept)
        """Episodes that Redis has a copy of, at most."""
        self.ttl_s = own.get("ttl_s", settings.episodes_ttl_s)
        """Age in seconds up to which an episode is recent."""
        self._archive = archive
        self._recent = recent
        self._lessons = lessons
        self._max_bytes = settings.max_payload_bytes
        self._clock = clock

    def record(
        self,
        event_type: str,
        payload: dict[str, Any],
        outcome: Any = None,
        *,
        at: datetime | None = None,
        tx: Transaction | None = None,
    ) -> Episode:
        """Add an episode: durable at return, or when `tx` commits. Two equal ones at one instant stay two.

        Example:
            agent.episodes.record("bet", {"amount": Decimal("2.50")}, outcome={"won": True})

        Args:
            event_type: a name such as `bet` or `escrow_open`.
            payload: the event's data; Decimal, datetime and the like come back as they are.
            outcome: how it ended, when that is known.
            at: when it happened, aware; now when left out.
            tx: the caller's transaction.

        Raises:
            InvalidInput: the type, the payload or the time is refused; TooLarge: payload and outcome are over
            `max_payload_bytes`. StoreUnavailable: the durable store does not answer; it may be recorded or not.
        """
        episode = self._make_episode(event_type, payload, outcome, at, self._now_us())
        self._add_episodes([episode], tx)
        return episode

    def record_many(
        self, items: Iterable[tuple[str, dict[str, Any], Any, datetime | None]], *, tx: Transaction | None = None
    ) -> list[Episode]:
        """Add episodes, each given as type, payload, outcome and time, in one commit: all of them or none.

        Example:
            agent.episodes.record_many([("tick", {"price": Decimal("101.5")}, None, None)])

        Raises as `record`.
        """
        now_us = self._now_us()
        found = [
            self._make_episode(event_type, payload, outcome, at, now_us) for event_type, payload, outcome, at in items
        ]
        if found:
            self._add_episodes(found, tx)
        return found

    def get_recent(self, limit: int = 50, event_type: str | None = None) -> list[Episode]:
        """Return the newest `limit` episodes, newest first; of one type when named.

        Recent are episodes of the last `episodes_ttl_s` seconds; `between` gives older ones. Redis serves the newest
        `episodes_kept` of all types, the durable store the rest, and everything while Redis does not answer.

        Example:
            agent.episodes.get_recent(10, "bet")

        Raises:
            InvalidInput: `limit` is negative. StoreUnavailable: the durable store was needed and does not answer.
        """
        if limit < 0:
            raise InvalidInput(f"limit is {limit}; it must be 0 or more.")
        if event_type is not None:
            validate_name(event_type, "event type")
        if limit == 0:
            return []
        from_us = self._now_us() - self.ttl_s * _SECOND
        if self._recent is not None and event_type is None and limit <= self.kept:
            try:
                found = self._recent.read_copy(self.agent_id, limit, from_us)
                if found is None:
                    newest = self._recent.fill_copy(
                        self.agent_id, partial(self._archive.read_newest, self.agent_id, self.kept)
                    )
                    found = [episode for episode in newest[:limit] if episode.at_us >= from_us]
            except RedisUnavailable:
                pass  # the durable store has them all
            else:
                return found
        return self._archive.read_newest(self.agent_id, limit, event_type=event_type, from_us=from_us)

    def between(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        event_type: str | None = None,
        limit: int = 1_000,
    ) -> list[Episode]:
        """Return the newest `limit` episodes from `since` to before `until`, newest first, however old.

        Example:
            agent.episodes.between(yesterday, event_type="bet")

        Raises:
            InvalidInput: a time without zone, or a limit below 1. StoreUnavailable: the durable store does not answer.
        """
        if limit < 1:
            raise InvalidInput(f"limit is {limit}; it must be 1 or more.")
        before_us = None if until is None else to_micros(until)
        return self._archive.read_newest(
            self.agent_id, limit, event_type=event_type, from_us=to_micros(since), before_us=before_us
        )

    def get(self, episode_id: UUID) -> Episode:
        """Return one episode; raise NotFound when this agent has none with that id."""
        found = self.find(episode_id)
        if found is None:
            raise NotFound(f"{self.agent_id} has no episode {episode_id}.")
        return found

    def find(self, episode_id: UUID) -> Episode | None:
        """Return one episode, None when this agent has none with that id."""
        return self._archive.find_episode(self.agent_id, episode_id)

    def update_outcome(self, episode: Episode | UUID, outcome: Any, *, tx: Transaction | None = None) -> Episode:
        """Set how an episode ended; its payload stays, and the store keeps every outcome that it was given.

        Example:
            agent.episodes.update_outcome(bet, {"won": False})

        Raises:
            NotFound: there is no such episode of this agent. InvalidInput, TooLarge: the outcome is refused.
            Conflict: it was changed again and again meanwhile; nothing was changed, call again.
        """
        refuse_secrets({"outcome": outcome}, "an episode")
        episode_id = episode.id if isinstance(episode, Episode) else episode
        for _ in range(_TRIES):
            with self._archive.transaction(tx) as opened:
                lock_agent(opened, self.agent_id)
                before = self._archive.find_episode(self.agent_id, episode_id, tx=opened)
                if before is None:
                    raise NotFound(f"{self.agent_id} has no episode {episode_id}. Nothing was changed.")
                content = pack_content(before.payload, outcome)
                after = self._check_size(replace(before, packed=content, revision=before.revision + 1))
                seq = self._archive.add_revision(after, tx=opened)
                if seq is not None:
                    opened.after_commit(partial(self._push_recent, [after], seq))
                    return after
        raise Conflict(f"the outcome of episode {episode_id} is being changed by others; nothing was changed.")

    def summarize_window(self, since: datetime) -> dict[str, Any]:
        """Count the episodes from `since` on.

        Returns:
            `total_events`, `by_type` (name to count), `first_at` and `last_at` (None without any), and
            `time_span_hours` between those two.
        """
        by_type, first, last = self._archive.count_by_type(self.agent_id, to_micros(since))
        span = timedelta(microseconds=last - first) if first is not None and last is not None else timedelta()
        return {
            "total_events": sum(by_type.values()),
            "by_type": by_type,
            "first_at": None if first is None else from_micros(first),
            "last_at": None if last is None else from_micros(last),
            "time_span_hours": span / _HOUR,
        }

    def count(self, event_type: str | None = None, *, since: datetime | None = None) -> int:
        """Return how many episodes there are, of a type and from a time on when named."""
        if event_type is not None:
            validate_name(event_type, "event type")
        from_us = None if since is None else to_micros(since)
        return sum(self._archive.count_by_type(self.agent_id, from_us, event_type)[0].values())

    def _add_episodes(self, found: Sequence[Episode], tx: Transaction | None) -> None:
        tx = tx or self._archive.current_transaction()
        if self._lessons is not None:
            self._lessons.expect_records(self.agent_id, tx=tx)
        seq = self._archive.add_episodes(found, tx=tx)
        if tx is None:
            self._push_recent(found, seq)
        else:
            tx.after_commit(partial(self._push_recent, found, seq))
        if self._lessons is not None:
            self._lessons.count_records(self.agent_id, len(found), tx=tx)

    def _push_recent(self, found: Sequence[Episode], newest_seq: int) -> None:
        if self._recent is not None:
            if len(found) > self.kept:
                found = sorted(found, key=lambda each: (each.at_us, each.hex))[-self.kept :]
            self._recent.push_episodes(self.agent_id, found, newest_seq, kept=self.kept)

    def _make_episode(
        self, event_type: object, payload: object, outcome: Any, at: datetime | None, now_us: int
    ) -> Episode:
        name = _check_event_type(event_type) if isinstance(event_type, str) else validate_name(event_type, "event type")
        if not isinstance(payload, dict):
            raise InvalidInput(f"the payload is {type(payload).__name__}, not a dict. Nothing was recorded.")
        refuse_secrets({"payload": payload, "outcome": outcome}, "an episode")
        at_us = now_us if at is None else to_micros(at)
        if at_us > now_us + FUTURE_US:
            raise InvalidInput(f"the time {from_micros(at_us).isoformat()} is in the future. Nothing was recorded.")
        content = pack_content(payload, outcome)
        return self._check_size(Episode(WRITTEN_VERSION, self.agent_id, new_ordered_hex(), name, at_us, content))

    def _check_size(self, episode: Episode) -> Episode:
        size = len(bytes(episode.packed))
        if size > self._max_bytes:
            raise TooLarge(
                f"the episode has {size:,} bytes, over the limit of {self._max_bytes:,} "
                "(AGENTSTATE_MAX_PAYLOAD_BYTES). Nothing was recorded."
            )
        return episode

    def _now_us(self) -> int:
        return time.time_ns() // 1_000 if self._clock is None else to_micros(self._clock())


@lru_cache(maxsize=1_024)
def _check_event_type(event_type: str) -> str:
    return validate_name(event_type, "event type")
