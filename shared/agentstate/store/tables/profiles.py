"""The table of profiles: one row is one field of one agent, the truth behind the copy in Redis."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import db_time, metadata, name_column, time_column

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
