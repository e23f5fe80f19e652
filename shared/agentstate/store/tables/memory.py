"""The tables of semantic memory: what was remembered, how far each memory has come, and the vectors paid for.

The row is the memory; Qdrant holds a copy of it that can be made again at any time. A row is also its own work item:
`state`, `attempts`, `due_at` and `claim` say who embeds it and when, so that remembering needs no second row.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column

Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A growing number given by the database; SQLite does so for INTEGER alone."""

memories = sa.Table(
    "memories",
    metadata,
    # Grows as memories are accepted. A reader that has seen n as searchable can wait for what it wrote after n.
    sa.Column("seq", Sequence, sa.Identity(), primary_key=True),
    # Derived from agent, kind and content (and source, for turns): a retry makes the same id.
    sa.Column("id", sa.Uuid(), nullable=False),
    name_column("agent_id", nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("content", sa.Text(), nullable=False),
    sa.Column("content_sha", sa.LargeBinary(32), nullable=False),
    sa.Column("metadata", Json, nullable=True),
    sa.Column("source", sa.String(200), nullable=True),
    name_column("session", nullable=True),
    sa.Column("speaker", sa.String(200), nullable=True),
    # A turn's number in its conversation: its neighbours are the numbers beside it.
    sa.Column("turn", sa.Integer(), nullable=True),
    time_column("said_at", nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"),
    sa.Column("state", sa.String(12), nullable=False, server_default="stored"),
    sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
    # Not before this time: the end of a back-off, or of the lease of the worker that holds `claim`.
    time_column("due_at", nullable=False, default=db_time()),
    # The holder's token. A late worker's token no longer matches, so its result is not applied.
    sa.Column("claim", sa.Uuid(), nullable=True),
    sa.Column("error", sa.Text(), nullable=True),
    # The vector space (collection) in which the memory is searchable.
    sa.Column("space", sa.String(128), nullable=True),
    time_column("searchable_at", nullable=True),
    sa.CheckConstraint("state IN ('stored', 'embedded', 'searchable', 'dead')", name="state_known"),
    sa.CheckConstraint("(state = 'searchable') = (searchable_at IS NOT NULL)", name="time_when_searchable"),
    sa.UniqueConstraint("id"),
    sqlite_autoincrement=True,
)

_pending = memories.c.state.in_([sa.literal_column("'stored'"), sa.literal_column("'embedded'")])
sa.Index(
    "ix_memories_pending",
    memories.c.agent_id,
    memories.c.due_at,
    memories.c.seq,
    postgresql_where=_pending,
    sqlite_where=_pending,
)
sa.Index("ix_memories_agent", memories.c.agent_id, memories.c.state, memories.c.seq)

embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
    sa.Column("space", sa.String(128), nullable=False),
    # float32, little-endian, as many as the space has dimensions.
    sa.Column("vector", sa.LargeBinary(), nullable=False),
    time_column("created_at", nullable=False, default=db_time()),
    sa.PrimaryKeyConstraint("memory_id", "space"),
)
