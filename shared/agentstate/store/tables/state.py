"""The tables of an agent's state: versioned states, profiles, and live updates.

Every save of a state is a row that stays; one row an agent names the newest. `agent_state_versions` is append-only by
triggers. A row of `profile_fields` is one field of one agent. Updates of an agent are numbered without gaps, and
`update_groups` holds the progress of groups of readers.
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


profile_fields = sa.Table(
    "profile_fields",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("field", sa.String(128), primary_key=True),
    # Exact JSON; null when the field was removed. Text, so that one that cannot be read spoils no other.
    sa.Column("value", sa.Text()),
    # Grows with every write, removal included: a writer who has seen an older one is told.
    sa.Column("version", sa.BigInteger(), nullable=False),
    time_column("expires_at"),
    time_column("updated_at", nullable=False, default=db_time()),
)


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
