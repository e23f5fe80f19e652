"""The tables of semantic memory: memories with their indexing state, and the vectors paid for.

The row is the memory; Qdrant holds a copy of it that can be made again at any time. A row is also its own work item:
`state`, `attempts`, `due_at` and `claim` say who embeds it and when, so that remembering needs no second row. Who may
see what is the column `agent_id` alone: an agent's name, or a shared namespace's after a slash.
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
    # Derived from agent, kind and content (for turns also where, for statements on a subject also when): a retry makes
    # the same id.
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
    # Who wrote it into a shared namespace; null where that is the agent itself.
    name_column("author", nullable=True),
    sa.Column("importance", sa.SmallInteger(), nullable=False, server_default="5"),
    # What a statement is about. A newer one about the same takes the place of the older, which stays as history.
    sa.Column("subject", sa.String(200), nullable=True),
    # From when and until when it holds; null: since it was said or stored, and for good.
    time_column("valid_from", nullable=True),
    time_column("valid_to", nullable=True),
    # The statement that holds in its place, and from when.
    sa.Column("superseded_by", sa.Uuid(), nullable=True),
    time_column("superseded_at", nullable=True),
    # The version that the index has; behind `version` after a change of a memory that is searchable.
    sa.Column("indexed_version", sa.BigInteger(), nullable=False, server_default="0"),
    # Points that the index holds for it: one, or one a chunk of a long text.
    sa.Column("points", sa.Integer(), nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('stored', 'embedded', 'searchable', 'dead')", name="state_known"),
    sa.CheckConstraint("(state = 'searchable') = (searchable_at IS NOT NULL)", name="time_when_searchable"),
    sa.UniqueConstraint("id"),
    sqlite_autoincrement=True,
)

pending = sa.or_(
    memories.c.state.in_([sa.literal_column("'stored'"), sa.literal_column("'embedded'")]),
    sa.and_(memories.c.state == sa.literal_column("'searchable'"), memories.c.indexed_version < memories.c.version),
)
"""Memories that the index lacks, or has in an older version."""
sa.Index(
    "ix_memories_waiting",
    memories.c.agent_id,
    memories.c.due_at,
    memories.c.seq,
    postgresql_where=pending,
    sqlite_where=pending,
)
sa.Index("ix_memories_agent", memories.c.agent_id, memories.c.state, memories.c.seq)
_turn = memories.c.turn.is_not(None)
sa.Index(
    "ix_memories_turn",
    memories.c.agent_id,
    memories.c.session,
    memories.c.turn,
    postgresql_where=_turn,
    sqlite_where=_turn,
)
_searchable = memories.c.state == sa.literal_column("'searchable'")
sa.Index(
    "ix_memories_space",
    memories.c.agent_id,
    memories.c.space,
    postgresql_where=_searchable,
    sqlite_where=_searchable,
)
_about = memories.c.subject.is_not(None)
sa.Index(
    "ix_memories_subject",
    memories.c.agent_id,
    memories.c.subject,
    memories.c.valid_from,
    memories.c.seq,
    postgresql_where=_about,
    sqlite_where=_about,
)

memory_vectors = sa.Table(
    "memory_vectors",
    metadata,
    sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
    sa.Column("space", sa.String(128), nullable=False),
    # Of the text that was embedded: the same text of the same agent is paid for once.
    sa.Column("text_sha", sa.LargeBinary(32), nullable=False),
    sa.Column("agent_id", sa.String(128), nullable=False),
    # float32, little-endian, as many as the space has dimensions.
    sa.Column("vector", sa.LargeBinary(), nullable=False),
    time_column("created_at", nullable=False, default=db_time()),
    sa.PrimaryKeyConstraint("memory_id", "space", "text_sha"),
    sa.Index("ix_memory_vectors_text", "agent_id", "space", "text_sha"),
)

forgotten_memories = sa.Table(
    "forgotten_memories",
    metadata,
    # No text: the id is all that is needed to keep a forgotten memory from coming back by itself.
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    time_column("forgotten_at", nullable=False, default=db_time()),
)

memory_namespaces = sa.Table(
    "memory_namespaces",
    metadata,
    name_column("name", primary_key=True),
    name_column("owner", nullable=False),
    time_column("created_at", nullable=False, default=db_time()),
)

memory_shares = sa.Table(
    "memory_shares",
    metadata,
    sa.Column("namespace", sa.String(128), sa.ForeignKey("memory_namespaces.name", ondelete="CASCADE"), nullable=False),
    name_column("agent_id", nullable=False),
    sa.Column("role", sa.String(8), nullable=False),
    time_column("offered_at", nullable=False, default=db_time()),
    # Null until the agent says yes itself.
    time_column("accepted_at", nullable=True),
    sa.CheckConstraint("role IN ('reader', 'writer')", name="role_known"),
    sa.PrimaryKeyConstraint("namespace", "agent_id"),
)

provider_circuits = sa.Table(
    "provider_circuits",
    metadata,
    sa.Column("space", sa.String(128), primary_key=True),
    sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
    # Nobody calls the provider before this time; then one process tries.
    time_column("open_until", nullable=True),
    sa.Column("error", sa.Text(), nullable=True),
    time_column("updated_at", nullable=False, default=db_time()),
)

embedding_batches = sa.Table(
    "embedding_batches",
    metadata,
    # Ours; the provider knows it too, so that a batch whose answer was lost is found again.
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("space", sa.String(128), nullable=False),
    sa.Column("provider_id", sa.String(128), nullable=True),
    sa.Column("state", sa.String(16), nullable=False, server_default="open"),
    sa.Column("texts", sa.Integer(), nullable=False),
    sa.Column("embedded", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("error", sa.Text(), nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    time_column("ended_at", nullable=True),
    sa.CheckConstraint("state IN ('open', 'applied', 'failed')", name="state_known"),
)

embedding_batch_items = sa.Table(
    "embedding_batch_items",
    metadata,
    sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("embedding_batches.id", ondelete="CASCADE"), nullable=False),
    # A row for each memory that has the text.
    sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
    sa.Column("text_sha", sa.LargeBinary(32), nullable=False),
    sa.PrimaryKeyConstraint("batch_id", "memory_id", "text_sha"),
)

index_builds = sa.Table(
    "index_builds",
    metadata,
    # The collection that is filled, beside the one that is searched.
    sa.Column("collection", sa.String(160), primary_key=True),
    sa.Column("space", sa.String(128), nullable=False),
    # Memories up to this number are in it.
    sa.Column("after_seq", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("written", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("state", sa.String(12), nullable=False, server_default="filling"),
    time_column("started_at", nullable=False, default=db_time()),
    time_column("updated_at", nullable=False, default=db_time()),
    sa.CheckConstraint("state IN ('filling', 'serving')", name="state_known"),
)
