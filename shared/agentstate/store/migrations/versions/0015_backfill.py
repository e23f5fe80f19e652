"""Batches of texts that a provider embeds within a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0015_backfill"
down_revision = "0014_conversation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding_batches",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("space", sa.String(128), nullable=False),
        sa.Column("provider_id", sa.String(128), nullable=True),
        sa.Column("state", sa.String(16), nullable=False, server_default="open"),
        sa.Column("texts", sa.Integer(), nullable=False),
        sa.Column("embedded", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'applied', 'failed')", name="state_known"),
    )
    op.create_table(
        "embedding_batch_items",
        sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("embedding_batches.id", ondelete="CASCADE"), nullable=False),
        sa.Column("memory_id", sa.Uuid(), sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False),
        sa.Column("text_sha", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "memory_id", "text_sha"),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
