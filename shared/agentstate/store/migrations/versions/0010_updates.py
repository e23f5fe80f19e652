"""Live updates: their order, and the groups that read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0010_updates"
down_revision = "0009_profile"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "update_heads",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("removed_through", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "updates",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("field", sa.String(128), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_updates_at", "updates", ["at"])
    op.create_table(
        "update_groups",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", UtcDateTime()),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
