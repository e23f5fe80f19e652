"""Rules, freezes and uses of guards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0006_guards"
down_revision = "0005_state"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rules()
    _freezes()
    _uses()
    op.create_index("ix_effects_recent", "effects", ["agent_id", "created_at"])


def _rules() -> None:
    op.create_table(
        "guard_rules",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("operation", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("currency", sa.String(16), nullable=True),
        sa.Column("maximum", sa.BigInteger(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=True),
        sa.Column("set_by", sa.String(128), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('operation', 'total', 'loss', 'in_flight', 'rate', 'unexplained')", name="kind_known"
        ),
        sa.CheckConstraint("maximum >= 0", name="maximum_not_negative"),
        sa.CheckConstraint("(kind = 'rate') = (currency IS NULL)", name="amounts_have_currency"),
        sa.CheckConstraint("(kind IN ('total', 'loss', 'rate')) = (window_s IS NOT NULL)", name="window_where_counted"),
        sa.CheckConstraint("window_s IS NULL OR window_s > 0", name="window_positive"),
    )
    op.create_index("ix_guard_rules_agent_id", "guard_rules", ["agent_id"])


def _freezes() -> None:
    op.create_table(
        "freezes",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("frozen_by", sa.String(128), nullable=False),
        sa.Column("frozen_at", UtcDateTime(), nullable=False),
        sa.Column("lifted_by", sa.String(128), nullable=True),
        sa.Column("lifted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted_by_somebody"),
    )
    in_force = sa.text("lifted_at IS NULL")
    op.create_index(
        "uq_freezes_in_force",
        "freezes",
        ["agent_id", "service"],
        unique=True,
        postgresql_where=in_force,
        sqlite_where=in_force,
    )


def _uses() -> None:
    op.create_table(
        "guard_uses",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("operation", sa.String(128), nullable=False),
        sa.Column("currency", sa.String(16), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("amount >= 0", name="amount_not_negative"),
        sa.CheckConstraint("amount = 0 OR currency IS NOT NULL", name="amounts_have_currency"),
    )
    op.create_index("ix_guard_uses_agent", "guard_uses", ["agent_id", "began_at"])


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
