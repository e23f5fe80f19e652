"""Semantic memory on real servers, with an embedder that needs no model: hashed words as vectors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import WakeUp
from agentstate.memory.embedding.worker import EmbeddingPipeline
from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.points import make_points
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.terms import split_terms
from agentstate.settings import Settings
from agentstate.store import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http import models

    from deploy.local.stack.stack import Stack

_numbers = itertools.count(1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def points_of(
    memory: UUID, texts: Sequence[str], *, agent: str = "a", version: int = 1, vector: list[float] | None = None
) -> list[models.PointStruct]:
    """The points of a memory that need not be stored, one for each text."""
    record = MemoryRecord(
        id=memory, seq=0, agent_id=agent, kind="fact", content=texts[0], created_at=NOW, version=version
    )
    return make_points(record, texts, [vector] * len(texts))


@dataclass(frozen=True)
class Space:
    collection: str
    dimensions: int = 64


class HashedWords:
    """Real vectors without a model: texts with common words are near each other."""

    max_inputs = 2_048
    parallel = 4
    max_tokens_per_call = 1_000_000
    max_tokens_per_text = 8_192

    def __init__(self, space: Space, *, semantic: bool = True) -> None:
        self.space: Any = space
        self.semantic = semantic
        self.calls: list[int] = []
        self.answers: list[Exception] = []
        """Raised by the next calls, first to last."""
        self.fails: Callable[[Sequence[str]], Exception | None] = lambda _texts: None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        assert self.semantic
        self.calls.append(len(texts))
        error = self.answers.pop(0) if self.answers else self.fails(texts)
        if error is not None:
            raise error
        return np.stack([self._vector(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        if self.answers:
            raise self.answers.pop(0)
        return self._vector(text)

    def describe(self) -> Any:
        raise NotImplementedError

    def close(self) -> None: ...

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self.space.dimensions, dtype=np.float32)
        for term in split_terms(text) or ["?"]:
            vector[hashlib.blake2b(term.encode()).digest()[0] % self.space.dimensions] += 1
        return vector / np.linalg.norm(vector)


class Wakes:
    """Remembers who would have been woken."""

    def __init__(self) -> None:
        self.bulk: list[str] = []
        self.jobs: list[WakeUp] = []

    def send_wake_ups(self, wake_ups: Iterable[WakeUp]) -> None:
        self.jobs += wake_ups

    def send_bulk_wake_up(self, kind: str) -> None:
        self.bulk.append(kind)

    def count_waiting(self, queue: str, lane: int) -> int:
        return 0


@dataclass
class World:
    """One test's semantic memory, whole."""

    store: Store
    jobs: Jobs
    wakes: Wakes
    embedder: HashedWords
    index: MemoryIndex
    settings: Settings

    @property
    def memory(self) -> MemoryService:
        return MemoryService(self.store, self.jobs, self.index, self.embedder, self.settings)

    def pipeline(self, **changes: Any) -> EmbeddingPipeline:
        settings = self.settings.model_copy(update=changes)
        return EmbeddingPipeline(self.store, self.index, self.embedder, settings)

    def make_due(self) -> None:
        """Let every back-off, lease and rest be over."""
        from agentstate.store.tables import memories, provider_circuits
        from agentstate.store.tables.base import db_time

        with self.store.transaction() as tx:
            tx.connection.execute(memories.update().values(due_at=db_time(-1.0)))
            tx.connection.execute(provider_circuits.update().values(open_until=db_time(-1.0)))


@pytest.fixture
def limits(database_url: str) -> Settings:
    return Settings.load(database_url=database_url)


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def jobs(store: Store, wakes: Wakes, limits: Settings) -> Jobs:
    return Jobs(store, wakes, limits)


@pytest.fixture(scope="session")
def qdrant(stack: Stack) -> Iterator[QdrantClient]:
    key = stack.env.get("AGENTSTATE_QDRANT_API_KEY")
    client = open_qdrant(stack.env["AGENTSTATE_QDRANT_URL"], api_key=SecretStr(key) if key else None)
    yield client
    client.close()


@pytest.fixture
def space() -> Space:
    return Space(collection=f"memories-test-{next(_numbers)}")


@pytest.fixture
def world(  # noqa: PLR0917 fixtures are asked for by name
    store: Store, jobs: Jobs, wakes: Wakes, limits: Settings, qdrant: QdrantClient, space: Space
) -> Iterator[World]:
    index = MemoryIndex(qdrant, space)
    yield World(store, jobs, wakes, HashedWords(space), index, limits)
    for name in index.collections.list_generations():
        index.collections.drop_collection(name)


@pytest.fixture
def lexical_world(world: World) -> World:
    world.embedder.semantic = False
    return world


@pytest.fixture
def unplugged(world: World) -> Iterator[World]:
    """The same with an index that does not answer."""
    client = open_qdrant("http://127.0.0.1:9")
    world.index = MemoryIndex(client, Space(world.embedder.space.collection))
    yield world
    client.close()
