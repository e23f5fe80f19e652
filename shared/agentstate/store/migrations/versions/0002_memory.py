"""The tables of semantic memory and conversations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0002_memory"
down_revision = "0001_jobs"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _memories()
    _embeddings()
    _conversations()
    _turns()
    _summaries()


def _memories() -> None:
    op.create_table(
        "memories",
        sa.Column("seq", _SEQUENCE, sa.Identity(), primary_key=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_sha", sa.LargeBinary(32), nullable=False),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("source", sa.String(200), nullable=True),
        sa.Column("session", sa.String(128), nullable=True),
        sa.Column("speaker", sa.String(200), nullable=True),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("said_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"),
        sa.Column("state", sa.String(12), nullable=False, server_default="stored"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("space", sa.String(128), nullable=True),
        sa.Column("searchable_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('stored', 'embedded', 'searchable', 'dead')", name="state_known"),
        sa.CheckConstraint("(state = 'searchable') = (searchable_at IS NOT NULL)", name="time_when_searchable"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    pending = sa.text("state IN ('stored', 'embedded')")
    op.create_index(
        "ix_memories_pending",
        "memories",
        ["agent_id", "due_at", "seq"],
        postgresql_where=pending,
        sqlite_where=pending,
    )
    op.create_index("ix_memories_agent", "memories", ["agent_id", "state", "seq"])


def _embeddings() -> None:
    op.create_table(
        "embeddings",
        sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
        sa.Column("space", sa.String(128), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("memory_id", "space"),
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("session", sa.String(128), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("summarized_to", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("open_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("summary_number", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("summarized_to BETWEEN 0 AND turns", name="watermark_within_turns"),
        sa.UniqueConstraint("agent_id", "session"),
    )


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("conversation_id", sa.Uuid(), sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("speaker", sa.String(200), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("content", Json, nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("said_at", UtcDateTime(), nullable=False),
        sa.Column("source_id", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("conversation_id", "number"),
        sa.UniqueConstraint("conversation_id", "source_id"),
        sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="role_known"),
    )


def _summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("conversation_id", sa.Uuid(), sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("covers_from", sa.Integer(), nullable=False),
        sa.Column("covers_to", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("facts", Json, nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("model", sa.String(128), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("source_sha", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "number"),
        sa.CheckConstraint("covers_from BETWEEN 1 AND covers_to", name="covers_something"),
    )
