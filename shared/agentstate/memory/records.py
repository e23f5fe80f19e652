"""The rows of semantic memory: how a memory is identified, written once, and read again by its agent.

A memory's id is derived from what makes it the same memory (agent, kind, content; for a turn also where it was said),
so a retry finds the first one instead of making a second. Every read takes the agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from agentstate.ids import derived_id
from agentstate.memory.texts import search_text
from agentstate.store.store import Transaction
from agentstate.store.tables import memories

TURN = "turn"
"""The kind of a memory that is one turn of a conversation."""


@dataclass(frozen=True, kw_only=True)
class NewMemory:
    """Something to remember."""

    agent_id: str
    content: str
    kind: str = "fact"
    """What sort of thing it is: `fact`, `lesson`, `strategy`, `event`, `turn`, or a name of the caller's."""
    metadata: dict[str, Any] | None = None
    source: str | None = None
    """Where it comes from; for a turn its id in the conversation."""
    at: datetime | None = None
    """When it happened or was said; aware."""
    session: str | None = None
    speaker: str | None = None
    turn: int | None = None
    """A turn's number in its conversation."""

    @cached_property
    def id(self) -> UUID:
        """The same for the same memory, in every process and for ever."""
        said = (self.session or "", self.source or "") if self.kind == TURN else ()
        return derived_id("memory", self.agent_id, self.kind, self.content, *said)


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """A memory as it is stored."""

    id: UUID
    seq: int
    agent_id: str
    kind: str
    content: str
    state: str
    metadata: dict[str, Any] | None
    source: str | None
    session: str | None
    speaker: str | None
    turn: int | None
    at: datetime | None
    created_at: datetime
    error: str | None

    @property
    def text(self) -> str:
        """What is searched for it."""
        return search_text(self.content, speaker=self.speaker, said_at=self.at)


_COLUMNS = (
    memories.c.id,
    memories.c.seq,
    memories.c.agent_id,
    memories.c.kind,
    memories.c.content,
    memories.c.state,
    memories.c.metadata,
    memories.c.source,
    memories.c.session,
    memories.c.speaker,
    memories.c.turn,
    memories.c.said_at.label("at"),
    memories.c.created_at,
    memories.c.error,
)


def insert(tx: Transaction, items: Iterable[NewMemory]) -> dict[UUID, int]:
    """Write what is not there yet; return the new ones' numbers by id."""
    # In one order everywhere, so that two batches with the same memories cannot wait for each other.
    rows = [_row(item) for item in sorted({item.id: item for item in items}.values(), key=lambda item: item.id)]
    if not rows:
        return {}
    dialect = postgresql if tx.dialect == "postgresql" else sqlite
    statement = dialect.insert(memories).on_conflict_do_nothing(index_elements=["id"])
    written = tx.connection.execute(statement.returning(memories.c.id, memories.c.seq), rows)
    return dict(written.all())


def states(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """(number, state) of those of `ids` that exist."""
    query = sa.select(memories.c.id, memories.c.seq, memories.c.state).where(memories.c.id.in_(ids))
    return {memory: (seq, state) for memory, seq, state in connection.execute(query)}


def read(connection: Connection, agent_id: str, ids: Sequence[UUID]) -> dict[UUID, MemoryRecord]:
    """Those of `ids` that exist and are `agent_id`'s."""
    query = sa.select(*_COLUMNS).where(memories.c.agent_id == agent_id, memories.c.id.in_(ids))
    return {row["id"]: MemoryRecord(**row) for row in connection.execute(query).mappings()}


def holding_any(
    connection: Connection,
    agent_id: str,
    words: Sequence[str],
    *,
    conditions: Sequence[sa.ColumnElement[bool]],
    limit: int,
) -> list[MemoryRecord]:
    """The newest memories of `agent_id` that meet `conditions` and hold any of `words` in content or speaker."""
    holds = sa.or_(
        *(memories.c.content.icontains(word, autoescape=True) for word in words),
        *(memories.c.speaker.icontains(word, autoescape=True) for word in words),
    )
    query = (
        sa.select(*_COLUMNS)
        .where(memories.c.agent_id == agent_id, *conditions, holds)
        .order_by(memories.c.seq.desc())
        .limit(limit)
    )
    return [MemoryRecord(**row) for row in connection.execute(query).mappings()]


def _row(item: NewMemory) -> dict[str, Any]:
    return {
        "id": item.id,
        "agent_id": item.agent_id,
        "kind": item.kind,
        "content": item.content,
        "content_sha": hashlib.sha256(item.content.encode()).digest(),
        "metadata": item.metadata,
        "source": item.source,
        "session": item.session,
        "speaker": item.speaker,
        "turn": item.turn,
        "said_at": item.at,
    }
