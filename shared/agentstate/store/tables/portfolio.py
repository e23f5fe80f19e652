"""The tables of the portfolio: enrolments of agents at services, and snapshots of their holdings."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column

service_accounts = sa.Table(
    "service_accounts",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("service", sa.String(64), primary_key=True),
    # The service's own name for the agent.
    sa.Column("account", sa.String(128), nullable=False),
    time_column("created_at", nullable=False, default=db_time()),
)

portfolio_snapshots = sa.Table(
    "portfolio_snapshots",
    metadata,
    name_column("agent_id", primary_key=True),
    # The beat's slot, such as 2026-08-01T10:05:00Z: one snapshot of an agent for each, however often it is taken.
    sa.Column("slot", sa.String(64), primary_key=True),
    time_column("taken_at", nullable=False),
    sa.Column("legs", Json, nullable=False),
    sa.Column("currency", sa.String(16), nullable=False),
    # Minor units. `total` is NULL when a leg is unknown; then `low` and `high` bound it, NULL being no bound.
    sa.Column("total", sa.BigInteger(), nullable=True),
    sa.Column("low", sa.BigInteger(), nullable=True),
    sa.Column("high", sa.BigInteger(), nullable=True),
    sa.CheckConstraint("total IS NULL OR (low = total AND high = total)", name="known_has_no_width"),
)
sa.Index("ix_portfolio_snapshots_slot", portfolio_snapshots.c.slot, portfolio_snapshots.c.agent_id)
sa.Index("ix_portfolio_snapshots_time", portfolio_snapshots.c.agent_id, portfolio_snapshots.c.taken_at)
