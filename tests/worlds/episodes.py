"""An agent's episodes on real servers, and what tests do to Redis meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.episodes.lesson_jobs import LessonJobs
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import episodes as table

NOW = datetime(2026, 11, 1, 12, 0, 0, 654321, tzinfo=UTC)
COPY = "as:{ag_7}:episodes:recent"


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


@dataclass
class EpisodeWorld:
    """One durable store and one Redis, with any number of processes over both."""

    store: Store
    client: redis.Redis
    settings: Settings = field(
        default_factory=lambda: Settings.load(database_url="sqlite:///unused.db", episodes_kept=50)
    )
    clock: Now | None = None

    @property
    def archive(self) -> EpisodeArchive:
        return EpisodeArchive(self.store)

    def process(
        self, agent_id: str = "ag_7", *, client: redis.Redis | None = None, lessons: LessonJobs | None = None
    ) -> EpisodicStore:
        """The agent's episodes as a process of its own has them."""
        recent = RecentEpisodes(client or self.client)
        return EpisodicStore(self.archive, agent_id, self.settings, recent=recent, lessons=lessons, clock=self.clock)

    def without_redis(self, agent_id: str = "ag_7") -> EpisodicStore:
        """The agent's episodes in a process that has no Redis at all."""
        return EpisodicStore(self.archive, agent_id, self.settings, clock=self.clock)

    def rows(self) -> int:
        """How many rows there are, each revision counted."""
        with self.store.read_connection() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def numbers(found: list[Episode]) -> list[Any]:
    """The numbers in the episodes' payloads."""
    return [episode.payload["n"] for episode in found]


def between(patch: pytest.MonkeyPatch, holder: type, name: str, happens: Callable[[], object]) -> None:
    """Let something happen just after `name` has answered, once."""
    real, done = getattr(holder, name), Event()

    def answer(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        if not done.is_set():
            done.set()
            happens()
        return found

    patch.setattr(holder, name, answer)
