"""From a memory with its vectors to its points in the index."""

from __future__ import annotations

from agentstate.memory.embedding.embed_texts import Embedded
from agentstate.memory.embedding.queue import PendingMemory
from agentstate.memory.index.index_points import IndexPoint
from agentstate.memory.search.chunks import point_id
from agentstate.memory.search.tags import metadata_tags


def points_of(memory: PendingMemory, made: Embedded, before: tuple[str, ...]) -> list[IndexPoint]:
    """One point for each of its texts, in their order; `before` a turn was said, see `preceding.preceding`."""
    ends = [moment for moment in (memory.valid_to, memory.superseded_at) if moment is not None]
    pairs = zip(made.texts[memory.id], made.vectors_of(memory), strict=True)
    return [
        IndexPoint(
            id=point_id(memory.id, number),
            memory=memory.id if number else None,
            agent_id=memory.agent_id,
            kind=memory.kind,
            text=text,
            version=memory.version,
            at=memory.said_at or memory.created_at,
            session=memory.session,
            turn=memory.turn,
            before=() if number else before,
            tags=tuple(metadata_tags(memory.metadata)),
            valid_from=memory.valid_from,
            valid_until=min(ends, default=None),
            importance=memory.importance,
            vector=None if vector is None else _numbers(vector),
        )
        for number, (text, vector) in enumerate(pairs)
    ]


def _numbers(vector: bytes) -> list[float]:
    import numpy as np

    numbers: list[float] = np.frombuffer(vector, dtype="<f4").tolist()
    return numbers
