"""Recall speed as memories grow: 100,000 memories of 100 agents, against the engine's bare answer.

The reference does the least that finds anything by meaning: it embeds the query and asks the engine for the ten nearest
vectors of the agent. Recall asks for more (words, identifiers, a hundred of each, where each turn stands), fuses, and
reads the rows from the durable store. Both use the same client, query by query in turn.

Rows are written by `remember_many`, points by the index's own `upsert` with vectors made up; embedding 100,000 texts
here would measure the model.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from qdrant_client.http import models

from agentstate.memory.facts.records import MemoryRecord, NewMemory
from agentstate.memory.index.collection import VECTOR
from agentstate.memory.index.points import make_points
from agentstate.memory.search.filters import tenant_filter
from agentstate.providers.embedding.minilm import find_model
from agentstate.runtime import Runtime
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time
from bench.stack import BenchStack
from bench.timing import time_call
from deploy.local.stack.results import Row, at_most

AGENTS = 100
SIZES = (1_000, 10_000, 100_000)
WORDS = 20_000
"""Words of the made-up language; like those of a real one, few are frequent and most are rare."""
LIMIT = 10
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Times:
    """Seconds of each query."""

    ours: list[float]
    reference: list[float]

    def quantiles_at(self, share: float) -> tuple[float, float]:
        """A quantile of both, in milliseconds."""
        return _quantile_ms(self.ours, share), _quantile_ms(self.reference, share)


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """p50 and p99 at the largest size against the reference, and p50 at each size."""
    kind = "minilm" if find_model() else "lexical"
    runtime = Runtime(bench.make_settings(embedder=kind))
    try:
        rng, filled = random.Random(5), 0  # noqa: S311 the same texts every time
        p50s: list[str] = []
        for size in SIZES[: bench.choose_size(3, 1)]:
            bench.report(f"recall: filling the index to {size:,} memories")
            generator = np.random.default_rng(size)
            for begin in range(filled, size, 1_000):
                items = [_make_memory(rng, number) for number in range(begin, min(begin + 1_000, size))]
                receipts = runtime.memory.remember_many(items)
                vectors = generator.standard_normal((len(items), max(runtime.embedder.space.dimensions, 1))).astype(
                    np.float32
                )
                runtime.index.upsert_points(
                    [point for item, vector in zip(items, vectors, strict=True) for point in _make_points(item, vector)]
                )
                with runtime.store.transaction() as tx:
                    done = {"state": "searchable", "space": runtime.index.space, "searchable_at": db_time()}
                    seqs = [receipt.seq for receipt in receipts]
                    changed = memories.update().where(memories.c.seq.in_(seqs))
                    tx.connection.execute(changed.values(indexed_version=memories.c.version, points=1, **done))
            filled = size
            times = _time_queries(runtime, rng, bench.choose_size(400, 20))
            p50s.append(f"{size:,}: {times.quantiles_at(0.5)[0]:.1f} ms")
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            ours, reference = times.quantiles_at(share)
            label = f"recall of {filled:,} memories of {AGENTS} agents: {name}"
            told = f"{ours:.1f} ms; embedding and bare engine query {reference:.1f} ms"
            ratio = round(ours / reference, 2)
            yield at_most(label, ratio, 1.5, "x", told) if name == "p50" else Row(label, ratio, "x", reference=told)
        yield Row("recall: p50 as the memories grow", "; ".join(p50s))
        parts = _time_parts(runtime, rng, bench.choose_size(100, 5))
        yield Row(
            "recall: where the time goes (p50)", "; ".join(f"{part} {found:.1f} ms" for part, found in parts.items())
        )
    finally:
        runtime.close()
    if kind == "lexical":
        yield Row("recall: with vectors not measured", "the MiniLM files are not installed")


def _make_memory(rng: random.Random, number: int) -> NewMemory:
    words = " ".join(_draw_words(rng, 14))
    return NewMemory(
        agent_id=f"bench_{number % AGENTS}",
        content=f"{words} {number}",
        kind="turn",
        session="s",
        source=str(number),
        speaker="Ada",
        turn=number // AGENTS + 1,
        at=_EPOCH + timedelta(minutes=number),
    )


def _make_points(item: NewMemory, vector: Any) -> list[models.PointStruct]:
    record = MemoryRecord(
        id=item.id,
        seq=0,
        agent_id=item.agent_id,
        kind=item.kind,
        content=item.content,
        created_at=item.at or _EPOCH,
        session=item.session,
        turn=item.turn,
    )
    return make_points(record, [item.content], [vector.tolist()])


def _draw_words(rng: random.Random, count: int) -> list[str]:
    # Zipf: the n-th word is n times rarer than the first.
    return [f"word{int(WORDS ** rng.random())}" for _ in range(count)]


def _time_queries(runtime: Runtime, rng: random.Random, count: int) -> Times:
    ours, reference = [], []
    for number, query in enumerate(_draw_queries(rng, count + 10)):
        agent = f"bench_{rng.randrange(AGENTS)}"
        mine = time_call(lambda agent=agent, query=query: _recall_by_library(runtime, agent, query))  # type: ignore[misc] # bound now
        bare = time_call(lambda agent=agent, query=query: _query_engine(runtime, agent, query))  # type: ignore[misc] # bound now
        if number >= 10:  # noqa: PLR2004 the first ones open connections
            ours.append(mine)
            reference.append(bare)
    return Times(ours, reference)


def _draw_queries(rng: random.Random, count: int) -> Iterator[str]:
    return (f"what did Ada say about {' '.join(_draw_words(rng, 5))}?" for _ in range(count))


def _recall_by_library(runtime: Runtime, agent: str, query: str) -> None:
    found = runtime.memory.of(agent).recall(query, LIMIT)
    assert found.degraded is None


def _query_engine(runtime: Runtime, agent: str, query: str) -> None:
    asked: dict[str, Any] = {}
    if runtime.embedder.semantic:
        asked = {"query": runtime.embedder.embed_query(query).tolist(), "using": VECTOR}
    runtime.qdrant.query_points(
        runtime.index.space, query_filter=tenant_filter((agent,)), limit=LIMIT, with_payload=False, **asked
    )


def _time_parts(runtime: Runtime, rng: random.Random, count: int) -> dict[str, float]:
    from agentstate.memory.search.filters import Scope

    found: dict[str, list[float]] = {"embedding": [], "index, all retrievers": [], "whole": []}
    for query in _draw_queries(rng, count):
        agent = f"bench_{rng.randrange(AGENTS)}"
        scope, vectors = Scope(agent_id=agent), []
        if runtime.embedder.semantic:
            found["embedding"].append(time_call(lambda: vectors.append(runtime.embedder.embed_query(query).tolist())))  # noqa: B023
        vector = vectors[0] if vectors else None
        found["index, all retrievers"].append(
            time_call(lambda: runtime.index.search(scope, text=query, vector=vector, limit=100))  # noqa: B023
        )
        found["whole"].append(time_call(lambda: _recall_by_library(runtime, agent, query)))  # noqa: B023
    return {part: _quantile_ms(times, 0.5) for part, times in found.items() if times}


def _quantile_ms(times: Sequence[float], share: float) -> float:
    return 1_000 * statistics.quantiles(times, n=100, method="inclusive")[round(100 * share) - 1]
