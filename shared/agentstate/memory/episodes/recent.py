"""The episodes that Redis holds, of any agent: thin calls of the scripts, and which agents the archive has to visit."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import redis

from agentstate.errors import RedisUnavailable
from agentstate.memory.episodes import scripts
from agentstate.memory.episodes.episode import Episode, read_members
from agentstate.memory.facts.tombstones import Tombstone
from agentstate.store.bare import run_command, run_script

MOST_WAITING = 10_000
"""Episodes of one agent that wait for the archive at most; beyond, the oldest are lost, and counted."""

VISITS = "as:{/episodes}:visits"
"""Agents by when they last recorded. No agent's name begins with a slash, so this key is nobody's."""

VISIT_AGAIN_S = 60.0
VISITS_KEPT_S = 8 * 86_400
FORGOTTEN_AFTER_S = 600.0
"""An agent that has nothing to archive is visited for so long after it last said that it records."""

A_LIFE = 10**10
"""Arrivals of one life of an agent at most; `memory.tombstones` tells what a life is."""

_REMEMBERED = 10_000
_FIRST = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of an agent's past Redis keeps: so many episodes, for so many seconds."""

    kept: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Pending:
    """An episode that the archive lacks: its arrival, its time as Redis wrote it, and the episode unless it is gone."""

    arrival: str
    at: str
    episode: Episode | None


class RecentEpisodes:
    """Episodes in Redis. Raises RedisUnavailable when it does not answer.

    Args:
        client: a synchronous client with timeouts; for text or bytes.
        archived: whether workers archive what is recorded.
    """

    def __init__(self, client: redis.Redis, *, archived: bool = False) -> None:
        self._client = client
        self._waiting = MOST_WAITING if archived else 0
        self._record = client.register_script(scripts.RECORD)
        self._record_again = client.register_script(scripts.RECORD_AGAIN)
        self._of_type = client.register_script(scripts.OF_TYPE)
        self._get = client.register_script(scripts.GET)
        self._summarize = client.register_script(scripts.SUMMARIZE)
        self._pending = client.register_script(scripts.PENDING)
        self._archived = client.register_script(scripts.ARCHIVED)
        self._update = client.register_script(scripts.UPDATE)
        self._forget = client.register_script(scripts.FORGET)
        self._of_before = client.register_script(scripts.OF_BEFORE)
        self._visited: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, episode: Episode, limits: Limits, oldest_us: int) -> tuple[bool, bool]:
        """Keep an episode; whether it is among those that are kept, and whether Redis knew nothing of the agent."""
        arguments = _arguments(episode, limits, oldest_us, self._waiting)
        try:
            found = int(run_script(self._client, self._record, _keys(episode.agent_id), arguments))
            self._note_visit(episode.agent_id, anew=found >= _FIRST)
        except AWAY as error:
            raise away(error) from error
        return found % 2 == 1, found >= _FIRST

    def record_many(
        self, episodes: Sequence[Episode], limits: Limits, oldest_us: int, *, life: int | None = None
    ) -> list[tuple[bool, bool]]:
        """`record` for episodes of one agent in one journey.

        `life`: the archive gave them in this life of the agent, so they wait for nobody, and Redis may have them too;
        when the agent has been forgotten since, none is kept.
        """
        if not episodes:
            return []
        again = life is not None
        waiting, made = (0, self._record_again) if again else (self._waiting, self._record)
        more: list[str | bytes | int] = [] if life is None else [_first_arrival(life + 1)]
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for episode in episodes:
                arguments = _arguments(episode, limits, oldest_us, waiting)
                made(_keys(episode.agent_id), arguments + more, client=pipe)
            answers = [(int(found) % 2 == 1, int(found) >= _FIRST) for found in pipe.execute()]
            self._note_visit(episodes[0].agent_id, anew=again or answers[0][1])
        return answers

    def recent(
        self, agent_id: str, limit: int, *, event_type: str | None = None, from_us: int = 0, to: str = "+inf"
    ) -> list[Episode] | None:
        """The newest, newest first; None when Redis knows nothing of the agent."""
        keys = _keys(agent_id)
        try:
            if event_type is None:
                found = run_command(self._client, "ZREVRANGEBYSCORE", keys[0], to, from_us, "LIMIT", 0, limit)
            else:
                found = self._of_type(keys, [f"{_types(agent_id)}{event_type}", limit, from_us, to])
            if not found and not self._client.exists(keys[2]):
                return None
        except AWAY as error:
            raise away(error) from error
        return read_members(found)

    def get(self, agent_id: str, episode_id: UUID, at_us: int | None = None) -> Episode | None:
        """One episode, None when it is not there; found sooner when its time is known."""
        with translated():
            member = self._get(_keys(agent_id), [episode_id.hex, "" if at_us is None else at_us])
        found = read_members([member]) if member else []
        return found[0] if found else None

    def replace(self, before: Episode, after: Episode, limits: Limits) -> bool | None:
        """Put `after` in the place of `before`; False when it was changed meanwhile, None when it is gone."""
        lines = (before.hex, before.at_us, before.line(), after.line())
        with translated():
            done = int(self._update(_keys(before.agent_id), [*lines, int(self._waiting > 0), limits.ttl_s]))
            self._note_visit(before.agent_id)
        return None if done < 0 else bool(done)

    def summarize(self, agent_id: str, from_us: int) -> tuple[dict[str, int], int | None, int | None]:
        """Counts by type from a time on, and the first and the last time."""
        with translated():
            flat, first, last = self._summarize(_keys(agent_id), [_types(agent_id), from_us])
        counts = {_text(kind): int(count) for kind, count in zip(flat[::2], flat[1::2], strict=True)}
        return counts, _score(first), _score(last)

    def count(self, agent_id: str, from_us: int, event_type: str | None = None) -> int:
        """How many there are from a time on."""
        key = _keys(agent_id)[0] if event_type is None else f"{_types(agent_id)}{event_type}"
        with translated():
            return int(self._client.zcount(key, from_us, "+inf"))

    def lost(self, agent_id: str) -> int:
        """How many left before the archive had them, because too many waited."""
        with translated():
            return int(self._client.get(_keys(agent_id)[5]) or 0)

    def waiting(self, agent_id: str, from_us: int) -> list[Episode]:
        """Those that the archive lacks, from a time on."""
        return [each.episode for each in self.pending(agent_id, MOST_WAITING, from_us) if each.episode is not None]

    def pending(self, agent_id: str, limit: int, from_us: int = 0) -> list[Pending]:
        """The first that the archive lacks."""
        with translated():
            found: Any = self._pending(_keys(agent_id), [from_us, limit])
        waiting = []
        for arrival, at_us, member in zip(found[::3], found[1::3], found[2::3], strict=True):
            read = read_members([member]) if member else []
            waiting.append(Pending(_text(arrival), _text(at_us), read[0] if read else None))
        return waiting

    def archived(self, agent_id: str, done: Iterable[Pending]) -> None:
        """The archive has these now."""
        arguments: list[str | bytes | int] = []
        for each in done:
            arguments += [each.arrival, each.at, each.episode.revision if each.episode else 0]
        with translated():
            self._archived(_keys(agent_id), arguments)

    def forget(self, stone: Tombstone, *, late: bool = False) -> int:
        """Remove what an agent recorded before it was forgotten; return how many.

        Args:
            stone: of the forgetting.
            late: it was forgotten some time ago, and Redis may not have heard of it; what is younger stays.
        """
        last = f"{int(stone.forgotten_at.timestamp() * 1_000):012x}" if late else ""
        what = (_types(stone.agent_id), _first_arrival(stone.life), last)
        with translated():
            return int(self._forget(_keys(stone.agent_id), [*what, VISITS_KEPT_S]))

    def of_before(self, stone: Tombstone) -> int:
        """How many there are that arrived before the agent was forgotten."""
        with translated():
            return int(self._of_before(_keys(stone.agent_id), [_first_arrival(stone.life)]))

    def visits(self, first: int, limit: int) -> list[str]:
        """Agents that may have something to archive, from the one numbered `first` on."""
        with translated():
            found: Any = self._client.zrange(VISITS, first, first + limit - 1)
        return [_text(agent) for agent in found]

    def visited(self, agent_id: str) -> None:
        """Forget an agent that has nothing to archive, unless it recorded lately."""
        with translated():
            score: Any = self._client.zscore(VISITS, agent_id)
            if score is not None and float(score) < time.time() - FORGOTTEN_AFTER_S:
                self._client.zrem(VISITS, agent_id)

    def _note_visit(self, agent_id: str, *, anew: bool = False) -> None:
        """Tell the archivers of an agent: once a minute from this process, and `anew` when Redis lost everything."""
        now = time.monotonic()
        told = now - self._visited.get(agent_id, -VISIT_AGAIN_S) < VISIT_AGAIN_S
        if not self._waiting or (told and not anew):
            return
        with self._lock:
            self._visited[agent_id] = now
            self._visited.move_to_end(agent_id)
            if len(self._visited) > _REMEMBERED:
                self._visited.popitem(last=False)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zadd(VISITS, {agent_id: time.time()})
            pipe.expire(VISITS, VISITS_KEPT_S)
            pipe.execute()


def _arguments(episode: Episode, limits: Limits, oldest_us: int, waiting: int) -> list[str | bytes | int]:
    what = (_types(episode.agent_id), episode.event_type, episode.hex, episode.at_us, episode.line())
    return [*what, limits.kept, limits.ttl_s, oldest_us, waiting]


def _first_arrival(life: int) -> str:
    return f"{life * A_LIFE:016d}"


@lru_cache(maxsize=4_096)
def _keys(agent_id: str) -> tuple[str, ...]:
    prefix = f"as:{{{agent_id}}}:episodes:"
    return tuple(prefix + name for name in ("all", "types", "arrived", "pending", "leaving", "lost"))


def _types(agent_id: str) -> str:
    return f"as:{{{agent_id}}}:episodes:type:"


def _score(score: bytes | str) -> int | None:
    return int(float(score)) if score else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


AWAY = (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError)
"""What the client raises while Redis is away, or takes no writes."""


def away(error: Exception) -> RedisUnavailable:
    """The error for a caller."""
    return RedisUnavailable(f"Redis does not answer ({error}); durable state is unaffected.")


@contextmanager
def translated() -> Iterator[None]:
    """Redis's own errors as RedisUnavailable."""
    try:
        yield
    except AWAY as error:
        raise away(error) from error
