"""What a recall gives: memories as the durable store has them, with why each was found, and how the search went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.search.fusion import Fused, RetrieverScore


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A memory that answers, as the durable store has it."""

    id: UUID
    content: str
    score: float
    """From 0 to 1, comparable between queries."""
    kind: str
    at: datetime | None
    """When it happened or was said."""
    source: str | None
    metadata: dict[str, Any]
    speaker: str | None
    session: str | None
    turn: int | None
    state: str
    retrievers: dict[str, RetrieverScore]
    """What each retriever that found it said."""
    own: float
    """The part of the score that is its own; the rest comes from the turns after it."""
    freshness: float
    """What is left of the score by its age: 1 without a half-life."""
    before: tuple[MemoryRecord, ...] = ()
    """The turns before it, in order, as many as were asked for."""
    after: tuple[MemoryRecord, ...] = ()
    """The turns after it."""

    def explain(self) -> str:
        """Why it was found, in a line: `0.61 = dense 0.52 (2nd best), keyword 11.3 (best), later turns +0.04`."""
        parts = [
            f"{retriever} {score.score:.2f} ({_place(score.rank)})" for retriever, score in self.retrievers.items()
        ]
        whole = self.score / self.freshness if self.freshness else 0.0
        if whole - self.own > 0.005:  # noqa: PLR2004 below that it shows as nothing
            parts.append(f"later turns +{whole - self.own:.2f}")
        if self.freshness < 1:
            parts.append(f"age x{self.freshness:.2f}")
        return f"{self.score:.2f} = {', '.join(parts)}"


class Recall(list[Hit]):
    """Hits, best first, and how they were found."""

    def __init__(
        self, hits: Iterable[Hit] = (), *, retrievers: Sequence[str] = (), degraded: str | None = None
    ) -> None:
        super().__init__(hits)
        self.retrievers = tuple(retrievers)
        """Those that answered: `dense`, `keyword` and `exact` of the index, `keyword_store` of the durable store."""
        self.degraded = degraded
        """What was left out and why, None when nothing was."""

    @property
    def semantic(self) -> bool:
        """Whether meaning was searched too; else it was words alone."""
        return "dense" in self.retrievers


def make_hit(
    item: Fused, record: MemoryRecord, freshness: float, before: Sequence[MemoryRecord], after: Sequence[MemoryRecord]
) -> Hit:
    """A hit of what was found and what the durable store has."""
    return Hit(
        id=record.id,
        content=record.content,
        score=item.score * freshness,
        kind=record.kind,
        at=record.at,
        source=record.source,
        metadata=record.metadata or {},
        speaker=record.speaker,
        session=record.session,
        turn=record.turn,
        state=record.state,
        retrievers=item.retrievers,
        own=item.own,
        freshness=freshness,
        before=tuple(before),
        after=tuple(after),
    )


def _place(rank: int) -> str:
    return "best" if rank == 1 else f"no. {rank}"
