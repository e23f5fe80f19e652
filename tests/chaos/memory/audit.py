"""What there must be in the end, counted: every acknowledged memory once, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator
from uuid import UUID

import sqlalchemy as sa

from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.qdrant_index import memories_in
from agentstate.memory.index.verify import IndexVerifier
from agentstate.runtime import Runtime
from agentstate.store.tables import memories
from deploy.local.stack.results import Row, equal_to

RECALLED = 50
"""So many memories are asked for by a word that each alone has."""


def waiting(runtime: Runtime) -> int:
    """How many memories are not searchable."""
    query = sa.select(sa.func.count()).select_from(memories).where(memories.c.state != "searchable")
    with runtime.store.read_connection() as connection:
        return int(connection.execute(query).scalar_one())


def rows(runtime: Runtime, acknowledged: dict[UUID, NewMemory], seed: int) -> Iterator[Row]:
    """Everything that must be 0."""
    with runtime.store.read_connection() as connection:
        stored = set(connection.execute(sa.select(memories.c.id)).scalars())
    with runtime.index.collections.open_ready_client() as client:
        points = Counter(memories_in(client, runtime.index.space))
    compared = IndexVerifier(runtime.store, runtime.index).compare_all(repair=False)
    yield equal_to("acknowledged and not stored", len(acknowledged.keys() - stored), 0, "memories")
    yield equal_to("stored and never acknowledged", len(stored - acknowledged.keys()), 0, "memories")
    yield equal_to("not searchable", waiting(runtime), 0, "memories")
    yield equal_to("not in the index", len(acknowledged.keys() - points.keys()), 0, "memories")
    yield equal_to("in the index without a memory", len(points.keys() - stored), 0, "points")
    yield equal_to("in the index more than once", sum(count - 1 for count in points.values()), 0, "points")
    yield equal_to("in another version than the truth", compared.stale, 0, "memories")
    yield equal_to("not recalled", _not_recalled(runtime, list(acknowledged.values()), seed), 0, "memories")


def _not_recalled(runtime: Runtime, items: Collection[NewMemory], seed: int) -> int:
    asked = random.Random(seed).sample(list(items), min(RECALLED, len(items)))
    return sum(not _is_recalled(runtime, item) for item in asked)


def _is_recalled(runtime: Runtime, item: NewMemory) -> bool:
    """Whether it is the best by its word; the vectors of this provider mean nothing."""
    hits = runtime.memory.of(item.agent_id).recall(item.content.split()[0], 1_000)
    by_word = [(hit.id, hit.why.retrievers["keyword"]) for hit in hits if "keyword" in hit.why.retrievers]
    return any(found == item.id and keyword.rank == 1 for found, keyword in by_word)
