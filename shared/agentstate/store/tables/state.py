"""The tables of versioned state: every save is a row that stays, and one row an agent says which is the newest.

`agent_state_versions` is append-only by triggers.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column

agent_states = sa.Table(
    "agent_states",
    metadata,
    name_column("agent_id", primary_key=True),
    # Number of the newest save; a save states the number that it has seen.
    sa.Column("version", sa.BigInteger(), nullable=False),
    # Of the newest save's blob: those that are behind are migrated in the background.
    sa.Column("schema_version", sa.Integer(), nullable=False, index=True),
    time_column("saved_at", nullable=False, default=db_time()),
    sa.CheckConstraint("version > 0", name="version_positive"),
)

agent_state_versions = sa.Table(
    "agent_state_versions",
    metadata,
    sa.Column("agent_id", sa.ForeignKey("agent_states.agent_id"), primary_key=True),
    # 1, 2, 3... without gaps: the order of the saves, whatever the clock did.
    sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer(), nullable=False),
    sa.Column("state", Json, nullable=False),
    # Who wrote it: `save`, or `migration` for the same content in a newer schema.
    sa.Column("cause", sa.String(16), nullable=False),
    # Never before the version's predecessor.
    time_column("saved_at", nullable=False),
    sa.CheckConstraint("cause IN ('save', 'migration')", name="cause_known"),
)
sa.Index(
    "ix_agent_state_versions_time",
    agent_state_versions.c.agent_id,
    agent_state_versions.c.saved_at,
    agent_state_versions.c.version,
)
