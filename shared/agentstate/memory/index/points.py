"""A memory as the index holds it: a vector of its meaning, its words, its identifiers, and the fields to filter by.

Every text that a user reads comes from the durable store. Words and identifiers are sparse vectors made here, not by
the index: then the index and the durable store cut a text into the same terms, and what was said before a turn can
count in part.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.index.collection import IDENTIFIERS, VECTOR, WORDS
from agentstate.memory.search.chunks import point_id
from agentstate.memory.search.filters import metadata_tags
from agentstate.memory.search.identifiers import find_identifiers, inherit_identifiers
from agentstate.memory.search.terms import PRECEDING_SHARES, TEXT_RULES, USUAL_TERMS, weigh_terms

if TYPE_CHECKING:
    from qdrant_client.http import models

BATCH_BYTES = 4_000_000
"""Vectors and payload in one request at most; servers refuse bodies over 32 MB."""


def make_points(
    memory: MemoryRecord,
    texts: Sequence[str],
    vectors: Sequence[list[float] | None],
    before: Sequence[str] = (),
    *,
    usual: float = USUAL_TERMS,
) -> list[models.PointStruct]:
    """Return the points of a memory, one for each of its texts.

    Args:
        memory: the memory as it is stored.
        texts: its chunks, at least one; see `split_chunks`.
        vectors: the vector of each text; None while there is no model: the memory is found by its words.
        before: the texts of the turns right before a turn, the nearest first.
        usual: how many terms a usual memory of the agent has.
    """
    from qdrant_client.http import models

    until = memory.holds_until
    payload: dict[str, Any] = {
        "agent_id": memory.agent_id,
        "kind": memory.kind,
        "version": memory.version,
        "rules": TEXT_RULES,
        "at": (memory.at or memory.created_at).isoformat(),
        "importance": memory.importance,
        "session": memory.session,
        "turn": memory.turn,
        "tags": metadata_tags(memory.metadata) or None,
        "from": None if memory.valid_from is None else memory.valid_from.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    points = []
    for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        words, own = weigh_terms(text, () if number else before, usual=usual), find_identifiers(text)
        named: dict[str, Any] = {WORDS: sparse_vector(words)} if words else {}
        inherited = [] if number else inherit_identifiers(own, before)
        if exact := dict.fromkeys(inherited, PRECEDING_SHARES[0]) | dict.fromkeys(own, 1.0):
            named[IDENTIFIERS] = sparse_vector(exact)
        if vector is not None:
            named[VECTOR] = vector
        # A later chunk names its memory; the first has the memory's own id.
        owner = {"memory": str(memory.id)} if number else {}
        points.append(
            models.PointStruct(id=str(point_id(memory.id, number)), vector=named, payload={**payload, **owner})
        )
    return points


def batch_points(points: Iterable[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    """Yield batches of one version each, so that one condition tells for all of them whether the index has older."""
    for _, same in groupby(sorted(points, key=version_of), key=version_of):
        batch: list[models.PointStruct] = []
        size = 0
        for point in same:
            # About 12 bytes for a number of a vector, 24 for a weighted term.
            vectors: dict[str, Any] = point.vector  # type: ignore[assignment] # `make_points` names every vector
            terms = sum(len(vectors[name].indices) for name in (WORDS, IDENTIFIERS) if name in vectors)
            tags = (point.payload or {}).get("tags", ())
            more = 12 * len(vectors.get(VECTOR, ())) + 24 * terms + sum(map(len, tags)) + 400
            if batch and size + more > BATCH_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(point)
            size += more
        yield batch


def version_of(point: models.PointStruct) -> int:
    """Return the version of the memory that a point was made from."""
    return int((point.payload or {})["version"])


def sparse_vector(weights: Mapping[str, float]) -> models.SparseVector:
    """Return weighted terms as the client takes them."""
    from qdrant_client.http import models

    entries = hash_terms(weights)
    return models.SparseVector(indices=list(entries), values=list(entries.values()))


def hash_terms(weights: Mapping[str, float]) -> dict[int, float]:
    """Return the weights by a number made of each term."""
    return {zlib.crc32(term.encode()): weight for term, weight in weights.items()}


def payload_indexes() -> list[tuple[str, Any]]:
    """Return the payload indexes, the tenant's first: links within one agent are made as points come in."""
    from qdrant_client.http import models

    keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
    moment = models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME)
    return [
        ("agent_id", keyword.model_copy(update={"is_tenant": True})),
        *((name, keyword) for name in ("memory", "kind", "session", "tags")),
        *((name, moment) for name in ("at", "from", "until")),
        ("version", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)),
    ]
