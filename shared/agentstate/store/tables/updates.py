"""The tables of live updates: each agent's, in one order without gaps, and how far groups of readers have come."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import db_time, metadata, name_column, time_column

update_heads = sa.Table(
    "update_heads",
    metadata,
    name_column("agent_id", primary_key=True),
    # Number of the newest update. Its row is locked until the publisher commits: numbers are in the order of commits.
    sa.Column("seq", sa.BigInteger(), nullable=False),
    # Updates up to this number are gone.
    sa.Column("removed_through", sa.BigInteger(), nullable=False),
)

updates = sa.Table(
    "updates",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("field", sa.String(128), nullable=False),
    sa.Column("value", sa.Text(), nullable=False),
    time_column("at", nullable=False, default=db_time()),
)
sa.Index("ix_updates_at", updates.c.at)

update_groups = sa.Table(
    "update_groups",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    # The group has dealt with everything up to here.
    sa.Column("seq", sa.BigInteger(), nullable=False),
    # Grows with every batch that is handed out: a late member's word does not count.
    sa.Column("fence", sa.BigInteger(), nullable=False),
    time_column("lease_until"),
)
