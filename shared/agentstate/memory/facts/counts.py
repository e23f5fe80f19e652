"""How far each agent's memories and conversations have come, counted in the durable store."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.tables import conversations, memories


@dataclass(frozen=True, kw_only=True)
class MemoryCounts:
    """One agent's memories by state; `stored` is all of them."""

    agent_id: str
    stored: int
    searchable: int
    pending: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class ConversationCounts:
    """One agent's conversations: how many, their turns, and how many of the turns a summary covers."""

    agent_id: str
    conversations: int
    turns: int
    summarized: int
    summaries: int


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """How far one agent's memories are searchable."""

    searchable_to: int
    """Everything acknowledged up to this number (`Receipt.seq`) is searchable, or given up."""
    newest: int
    """The newest memory's number, 0 when there is none."""
    waiting: int
    dead: int
    """Given up; they stay stored and are found by their words."""


def read_watermark(connection: Connection, agent_id: str) -> Watermark:
    """The watermark of one agent."""
    state, count = memories.c.state, sa.func.count()
    waits = state.in_(["stored", "embedded"])
    query = sa.select(
        sa.func.min(memories.c.seq).filter(waits),
        sa.func.coalesce(sa.func.max(memories.c.seq), 0),
        count.filter(waits),
        count.filter(state == "dead"),
    ).where(memories.c.agent_id == agent_id)
    first, newest, waiting, dead = connection.execute(query).one()
    searchable_to = newest if first is None else first - 1
    return Watermark(searchable_to=searchable_to, newest=newest, waiting=waiting, dead=dead)


def count_memories(connection: Connection, *, agent_id: str | None = None) -> list[MemoryCounts]:
    """Counts by agent, in the order of their names; of one agent when named."""

    def having(state: str) -> sa.ColumnElement[int]:
        return sa.func.count().filter(memories.c.state == state)

    searchable, dead, stored = having("searchable"), having("dead"), sa.func.count()
    columns = (stored.label("stored"), searchable.label("searchable"), dead.label("dead"))
    query = sa.select(memories.c.agent_id, *columns, (stored - searchable - dead).label("pending"))
    query = query.group_by(memories.c.agent_id).order_by(memories.c.agent_id)
    if agent_id is not None:
        query = query.where(memories.c.agent_id == agent_id)
    return [MemoryCounts(**row) for row in connection.execute(query).mappings()]


def count_conversations(connection: Connection, *, agent_id: str | None = None) -> list[ConversationCounts]:
    """Counts by agent, in the order of their names; of one agent when named."""

    def total(column: sa.Column[int], name: str) -> sa.Label[int]:
        return sa.cast(sa.func.sum(column), sa.BigInteger).label(name)

    query = sa.select(
        conversations.c.agent_id,
        sa.func.count().label("conversations"),
        total(conversations.c.turns, "turns"),
        total(conversations.c.summarized_to, "summarized"),
        total(conversations.c.summary_number, "summaries"),
    )
    query = query.group_by(conversations.c.agent_id).order_by(conversations.c.agent_id)
    if agent_id is not None:
        query = query.where(conversations.c.agent_id == agent_id)
    return [ConversationCounts(**row) for row in connection.execute(query).mappings()]
