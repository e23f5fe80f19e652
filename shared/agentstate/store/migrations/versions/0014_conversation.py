"""One summarizer at a time per conversation, and what was paid for each summary."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0014_conversation"
down_revision = "0013_turns"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("summarizing_job", sa.Uuid(), nullable=True))
    op.add_column("conversations", sa.Column("summarizing_until", UtcDateTime(), nullable=True))
    op.add_column("summaries", sa.Column("prompt_version", sa.Integer(), nullable=True))
    op.create_table(
        "summary_calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("source_sha", sa.LargeBinary(32), nullable=False),
        sa.Column("asked", sa.String(200), nullable=False),
        sa.Column("prompt_version", sa.Integer(), nullable=False),
        sa.Column("summary", Json, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"]),
        sa.UniqueConstraint("conversation_id", "source_sha", "asked", "prompt_version"),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
