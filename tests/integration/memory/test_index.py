"""The index: made once by whoever comes first, never overwritten by what is older, one agent at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient
from qdrant_client.http import models

from agentstate.errors import IndexUnavailable, InvalidInput
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.filters import Scope
from deploy.local.stack.stack import Stack
from tests.worlds.memories import Space, points_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VECTOR = [1.0] + [0.0] * 63


def point(
    number: int, text: str, *, version: int = 1, agent: str = "a", vector: list[float] | None = None
) -> models.PointStruct:
    [made] = points_of(UUID(int=number), [text], agent=agent, version=version, vector=vector)
    return made


@pytest.fixture
def index(qdrant: QdrantClient, space: Space) -> MemoryIndex:
    return MemoryIndex(qdrant, space)


def words(index: MemoryIndex, text: str, agent: str = "a") -> list[UUID]:
    found = index.search(Scope(agent_id=agent), text=text, vector=None, limit=10).found
    return [UUID(memory) for memory, _ in found["keyword"]]


def test_several_who_come_first_make_one_collection(qdrant: QdrantClient, space: Space) -> None:
    indexes = [MemoryIndex(qdrant, space) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: indexes[n].upsert_points([point(n + 1, f"coin {n}")]), range(6)))
    assert indexes[0].count_points("a") == 6
    schema = qdrant.get_collection(space.collection).payload_schema
    assert schema["agent_id"].params is not None
    assert schema["agent_id"].params.is_tenant is True  # type: ignore[union-attr]
    filtered = {"agent_id", "memory", "kind", "session", "at", "from", "until", "version", "tags"}
    assert set(schema) == filtered


def test_an_older_version_that_comes_late_changes_nothing(index: MemoryIndex) -> None:
    index.upsert_points([point(1, "new words", version=2)])
    index.upsert_points([point(1, "old words", version=1), point(2, "second words", version=1)])
    assert words(index, "new") == [UUID(int=1)]
    assert words(index, "old") == []
    assert words(index, "second") == [UUID(int=2)]


def test_versions_mixed_in_one_batch_each_meet_their_own_condition(index: MemoryIndex) -> None:
    index.upsert_points([point(1, "kept words", version=2), point(2, "replaced words", version=2)])
    index.upsert_points([point(1, "stale words", version=1), point(2, "fresh words", version=3)])
    assert words(index, "kept") == [UUID(int=1)]
    assert words(index, "fresh") == [UUID(int=2)]


def test_points_with_and_without_vectors_live_together(index: MemoryIndex) -> None:
    index.upsert_points([point(1, "coin", vector=VECTOR), point(2, "coin flip")])
    found = index.search(Scope(agent_id="a"), text="coin", vector=VECTOR, limit=10).found
    assert [memory for memory, _ in found["dense"]] == [str(UUID(int=1))]
    assert {memory for memory, _ in found["keyword"]} == {str(UUID(int=1)), str(UUID(int=2))}


def test_large_texts_go_in_several_requests(index: MemoryIndex) -> None:
    index.upsert_points([point(n, f"coin{n} " + "x" * 1_500_000) for n in range(1, 3)])
    assert index.count_points("a") == 2


def test_agents_are_apart(index: MemoryIndex) -> None:
    index.upsert_points([point(1, "coin", agent="a", vector=VECTOR), point(2, "coin", agent="b", vector=VECTOR)])
    found = index.search(Scope(agent_id="b"), text="coin", vector=VECTOR, limit=10).found
    assert {memory for hits in found.values() for memory, _ in hits} == {str(UUID(int=2))}


def test_a_collection_that_was_removed_is_made_again(index: MemoryIndex, qdrant: QdrantClient) -> None:
    index.upsert_points([point(1, "coin")])
    index.collections.drop_collection(f"{index.space}--1")
    with pytest.raises(IndexUnavailable):
        index.upsert_points([point(1, "coin")])
    index.upsert_points([point(1, "coin")])
    assert index.count_points("a") == 1


def test_a_vector_of_another_width_is_refused(index: MemoryIndex) -> None:
    with pytest.raises(InvalidInput, match="refused"):
        index.upsert_points([point(1, "coin", vector=[1.0])])


def test_a_proxy_of_the_environment_is_passed_by(stack: Stack, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    key = SecretStr(stack.env["AGENTSTATE_QDRANT_API_KEY"])
    client = open_qdrant(stack.env["AGENTSTATE_QDRANT_URL"], api_key=key)
    assert MemoryIndex(client, space).count_points("a") == 0
    client.close()
