"""The result of a recall: memories as the durable store has them, each with the reasons why it was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.search.fusion import RetrieverScore


@dataclass(frozen=True, kw_only=True)
class Why:
    """The reasons of a hit's score."""

    retrievers: dict[str, RetrieverScore] = field(default_factory=dict)
    """The rank and score that each retriever gave it."""
    own: float = 0.0
    """The part of the score that is its own; the rest comes from the turns after it."""
    freshness: float = 1.0
    """The share of the score that its age leaves: 1 without a half-life."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A memory that answers, as the durable store has it."""

    record: MemoryRecord
    score: float
    """From 0 to 1, comparable between queries."""
    why: Why
    before: tuple[MemoryRecord, ...] = ()
    """The turns before it, in order, as many as were asked for."""
    after: tuple[MemoryRecord, ...] = ()
    """The turns after it."""

    @property
    def id(self) -> UUID:
        """The memory's id."""
        return self.record.id

    @property
    def content(self) -> str:
        """The memory's text."""
        return self.record.content

    @property
    def kind(self) -> str:
        """The memory's kind, such as `fact`."""
        return self.record.kind

    @property
    def at(self) -> datetime | None:
        """When it happened or was said."""
        return self.record.at

    @property
    def source(self) -> str | None:
        """Its origin, as the caller named it."""
        return self.record.source

    @property
    def metadata(self) -> dict[str, Any]:
        """The values that were stored with it."""
        return self.record.metadata or {}

    @property
    def speaker(self) -> str | None:
        """The speaker of a turn."""
        return self.record.speaker

    @property
    def session(self) -> str | None:
        """The session of a turn."""
        return self.record.session

    @property
    def turn(self) -> int | None:
        """A turn's number in its session."""
        return self.record.turn

    @property
    def state(self) -> str:
        """The memory's state, such as `searchable`."""
        return self.record.state

    def explain(self) -> str:
        """Return the reasons in a line: `0.61 = dense 0.52 (no. 2), keyword 11.3 (best), later turns +0.04`."""
        parts = [
            f"{name} {one.score:.2f} ({'best' if one.rank == 1 else f'no. {one.rank}'})"
            for name, one in self.why.retrievers.items()
        ]
        whole = self.score / self.why.freshness if self.why.freshness else 0.0
        if whole - self.why.own > 0.005:  # noqa: PLR2004 below that it shows as nothing
            parts.append(f"later turns +{whole - self.why.own:.2f}")
        if self.why.freshness < 1:
            parts.append(f"age x{self.why.freshness:.2f}")
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
        """Whether meaning was searched too, not words alone."""
        return "dense" in self.retrievers
