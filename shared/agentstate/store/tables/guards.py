"""The tables of guards: an agent's rules, its freezes, and the uses that no effect records.

A rule's row is also its lock: who asks locks the rules that apply, in the order of their ids, until the asker's
transaction ends. What effects have used is read from their own rows and postings, so it cannot differ from them.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import db_time, metadata, name_column, time_column
from agentstate.store.tables.minor_units import MinorUnits

guard_rules = sa.Table(
    "guard_rules",
    metadata,
    # Made from all that names the rule, so that setting it again finds it.
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False, index=True),
    # `*` stands for every service, every operation.
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("operation", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    # NULL for a rate, whose maximum is a count; minor units else.
    sa.Column("currency", sa.String(16), nullable=True),
    sa.Column("maximum", MinorUnits(), nullable=False),
    sa.Column("window_s", sa.Integer(), nullable=True),
    sa.Column("set_by", sa.String(128), nullable=False),
    time_column("set_at", nullable=False, default=db_time()),
    sa.CheckConstraint("kind IN ('operation', 'total', 'loss', 'in_flight', 'rate', 'unexplained')", name="kind_known"),
    sa.CheckConstraint("maximum >= 0", name="maximum_not_negative"),
    sa.CheckConstraint("(kind = 'rate') = (currency IS NULL)", name="amounts_have_currency"),
    sa.CheckConstraint("(kind IN ('total', 'loss', 'rate')) = (window_s IS NOT NULL)", name="window_where_counted"),
    sa.CheckConstraint("window_s IS NULL OR window_s > 0", name="window_positive"),
)

freezes = sa.Table(
    "freezes",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("frozen_by", sa.String(128), nullable=False),
    time_column("frozen_at", nullable=False, default=db_time()),
    # A freeze that was lifted stays, as the record of it.
    sa.Column("lifted_by", sa.String(128), nullable=True),
    time_column("lifted_at", nullable=True),
    sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted_by_somebody"),
)
_in_force = freezes.c.lifted_at.is_(None)
sa.Index(
    "uq_freezes_in_force",
    freezes.c.agent_id,
    freezes.c.service,
    unique=True,
    postgresql_where=_in_force,
    sqlite_where=_in_force,
)

guard_uses = sa.Table(
    "guard_uses",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("operation", sa.String(128), nullable=False),
    sa.Column("currency", sa.String(16), nullable=True),
    sa.Column("amount", MinorUnits(), nullable=False, server_default=sa.text("0")),
    time_column("began_at", nullable=False, default=db_time()),
    # In flight until it has ended, or until then when its process never says so.
    time_column("expires_at", nullable=False),
    time_column("ended_at", nullable=True),
    sa.CheckConstraint("amount >= 0", name="amount_not_negative"),
    sa.CheckConstraint("amount = 0 OR currency IS NOT NULL", name="amounts_have_currency"),
)
sa.Index("ix_guard_uses_agent", guard_uses.c.agent_id, guard_uses.c.began_at)
