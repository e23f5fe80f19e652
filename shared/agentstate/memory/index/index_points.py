"""A memory as the index holds it: a vector of its meaning, its words, its identifiers, and what is filtered on.

Everything a user gets to read comes from the durable store. Words and identifiers are sparse vectors made here, not by
the index: then the index and the durable store cut a text into the same terms, and what was said before a turn can
count in part.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.memory.facts.records import USUAL_IMPORTANCE
from agentstate.memory.index.collection import IDENTIFIERS, VECTOR, WORDS
from agentstate.memory.search import bm25
from agentstate.memory.search.identifiers import find_identifiers

if TYPE_CHECKING:
    from qdrant_client.http import models

BATCH_BYTES = 4_000_000
"""Vectors and payload in one request at most; servers refuse bodies over 32 MB."""


@dataclass(frozen=True, kw_only=True)
class IndexPoint:
    """One memory as the index holds it, or one chunk of a long one."""

    id: UUID
    agent_id: str
    """Whose it is: an agent, or `/` and the name of a shared namespace."""
    kind: str
    text: str
    version: int
    at: datetime
    session: str | None = None
    turn: int | None = None
    """A turn's number in its conversation."""
    before: tuple[str, ...] = ()
    """What was said right before it, the nearest first."""
    tags: tuple[str, ...] = ()
    """Its metadata, to be filtered on."""
    memory: UUID | None = None
    """The memory of which this is a later chunk; None for the first, whose id is the memory's own."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """When it ended, or the next statement on its subject began."""
    importance: int = USUAL_IMPORTANCE
    vector: list[float] | None = None
    """None while there is no model: the memory is found by its words."""

    @property
    def size(self) -> int:
        """About how many bytes it takes on the wire."""
        read = len(self.text.encode()) + sum(len(text.encode()) for text in self.before)
        return 4 * read + 12 * len(self.vector or ()) + sum(map(len, self.tags)) + 300


def batch_points(points: Iterable[IndexPoint]) -> Iterator[list[IndexPoint]]:
    """Points of one version at a time, so that one condition tells for all of them whether what is there is older."""
    batch: list[IndexPoint] = []
    size = 0
    for point in sorted(points, key=lambda point: point.version):
        if batch and (size + point.size > BATCH_BYTES or point.version != batch[0].version):
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += point.size
    if batch:
        yield batch


def point_struct(point: IndexPoint) -> models.PointStruct:
    """The point as it goes to the index."""
    from qdrant_client.http import models

    payload: dict[str, Any] = {
        "agent_id": point.agent_id,
        "kind": point.kind,
        "version": point.version,
        "at": point.at.isoformat(),
        "importance": point.importance,
    }
    optional = {
        "session": point.session,
        "turn": point.turn,
        "tags": list(point.tags) or None,
        "memory": None if point.memory is None else str(point.memory),
        "from": None if point.valid_from is None else point.valid_from.isoformat(),
        "until": None if point.valid_until is None else point.valid_until.isoformat(),
    }
    payload |= {name: value for name, value in optional.items() if value is not None}
    return models.PointStruct(id=str(point.id), vector=_vectors(point), payload=payload)


def sparse_vector(weights: Mapping[str, float]) -> models.SparseVector:
    """Terms with weights as the client takes them."""
    from qdrant_client.http import models

    entries = hash_terms(weights)
    return models.SparseVector(indices=list(entries), values=list(entries.values()))


def hash_terms(weights: Mapping[str, float]) -> dict[int, float]:
    """Each term by a number made of it."""
    return {zlib.crc32(term.encode()): weight for term, weight in weights.items()}


def weigh_equally(terms: Sequence[str]) -> dict[str, float]:
    """Terms that count alike: of a query, and of identifiers."""
    return dict.fromkeys(terms, 1.0)


def _vectors(point: IndexPoint) -> dict[str, Any]:
    words, exact = bm25.term_weights(point.text, point.before), find_identifiers(point.text)
    made: dict[str, Any] = {WORDS: sparse_vector(words)} if words else {}
    if exact:
        made[IDENTIFIERS] = sparse_vector(weigh_equally(exact))
    return made if point.vector is None else {**made, VECTOR: point.vector}


def payload_indexes() -> list[tuple[str, Any]]:
    """Payload indexes, the tenant's first: links within one agent are made as points come in."""
    from qdrant_client.http import models

    keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
    moment = models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME)
    return [
        ("agent_id", keyword.model_copy(update={"is_tenant": True})),
        *((name, keyword) for name in ("memory", "kind", "session", "tags")),
        *((name, moment) for name in ("at", "from", "until")),
        ("version", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)),
    ]
