"""Statements on subjects, chunks, vectors by text, shared namespaces, circuits of providers, builds of the index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0008_memory"
down_revision = "0007_attest"
branch_labels = None
depends_on = None

_BATCH = 500
_SELECT = """
SELECT e.memory_id, e.space, e.vector, e.created_at, m.agent_id, m.content, m.speaker, m.said_at
FROM embeddings e JOIN memories m ON m.id = e.memory_id
"""


def upgrade() -> None:
    _memories()
    _vectors()
    _namespaces()
    _index()


def _memories() -> None:
    for column in (
        sa.Column("author", sa.String(128), nullable=True),
        sa.Column("importance", sa.SmallInteger(), nullable=False, server_default="5"),
        sa.Column("subject", sa.String(200), nullable=True),
        sa.Column("valid_from", UtcDateTime(), nullable=True),
        sa.Column("valid_to", UtcDateTime(), nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("superseded_at", UtcDateTime(), nullable=True),
        sa.Column("indexed_version", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("points", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("memories", column)
    op.execute("UPDATE memories SET indexed_version = version, points = 1 WHERE state = 'searchable'")
    pending = sa.text("state IN ('stored', 'embedded') OR state = 'searchable' AND indexed_version < version")
    about = sa.text("subject IS NOT NULL")
    op.drop_index("ix_memories_pending", "memories")
    op.create_index(
        "ix_memories_waiting",
        "memories",
        ["agent_id", "due_at", "seq"],
        postgresql_where=pending,
        sqlite_where=pending,
    )
    op.create_index(
        "ix_memories_subject",
        "memories",
        ["agent_id", "subject", "valid_from", "seq"],
        postgresql_where=about,
        sqlite_where=about,
    )


def _vectors() -> None:
    vectors = op.create_table(
        "memory_vectors",
        sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
        sa.Column("space", sa.String(128), nullable=False),
        sa.Column("text_sha", sa.LargeBinary(32), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("memory_id", "space", "text_sha"),
    )
    op.create_index("ix_memory_vectors_text", "memory_vectors", ["agent_id", "space", "text_sha"])
    for rows in _old_vectors():
        op.bulk_insert(vectors, rows)
    op.drop_table("embeddings")


def _old_vectors() -> Iterator[list[dict[str, Any]]]:
    types: dict[str, Any] = {
        "memory_id": sa.Uuid(),
        "vector": sa.LargeBinary(),
        "created_at": UtcDateTime(),
        "said_at": UtcDateTime(),
    }
    found = op.get_bind().execute(sa.text(_SELECT).columns(**types)).mappings()
    while rows := found.fetchmany(_BATCH):
        yield [
            {
                **{name: row[name] for name in ("memory_id", "space", "agent_id", "vector", "created_at")},
                "text_sha": hashlib.sha256(_text(**row).encode()).digest(),
            }
            for row in rows
        ]


def _text(*, content: str, speaker: str | None, said_at: datetime | None, **_: Any) -> str:
    # The text that was embedded up to this revision.
    if speaker is None:
        return content
    said = f"{speaker}: {content}"
    return said if said_at is None else f"[{said_at.day} {said_at:%B %Y}] {said}"


def _namespaces() -> None:
    op.create_table(
        "memory_namespaces",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "memory_shares",
        sa.Column(
            "namespace", sa.String(128), sa.ForeignKey("memory_namespaces.name", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("offered_at", UtcDateTime(), nullable=False),
        sa.Column("accepted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("role IN ('reader', 'writer')", name="role_known"),
        sa.PrimaryKeyConstraint("namespace", "agent_id"),
    )


def _index() -> None:
    op.create_table(
        "provider_circuits",
        sa.Column("space", sa.String(128), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("open_until", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "index_builds",
        sa.Column("collection", sa.String(160), primary_key=True),
        sa.Column("space", sa.String(128), nullable=False),
        sa.Column("after_seq", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("written", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("state", sa.String(12), nullable=False, server_default="filling"),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('filling', 'serving')", name="state_known"),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
