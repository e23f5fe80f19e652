"""Profiles: one row a field."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0009_profile"
down_revision = "0008_memory"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "profile_fields",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("field", sa.String(128), primary_key=True),
        sa.Column("value", sa.Text()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
