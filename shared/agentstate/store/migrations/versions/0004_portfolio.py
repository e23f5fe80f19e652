"""Enrolments at services, and portfolio snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0004_portfolio"
down_revision = "0003_money"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("service", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "portfolio_snapshots",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("slot", sa.String(64), primary_key=True),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("legs", Json, nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("low", sa.BigInteger(), nullable=True),
        sa.Column("high", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("total IS NULL OR (low = total AND high = total)", name="known_has_no_width"),
    )
    op.create_index("ix_portfolio_snapshots_slot", "portfolio_snapshots", ["slot", "agent_id"])
    op.create_index("ix_portfolio_snapshots_time", "portfolio_snapshots", ["agent_id", "taken_at"])


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
