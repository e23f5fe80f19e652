"""Turns by their place in a conversation, and memories by the vector space in which they are searchable."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_turns"
down_revision = "0012_tombstones"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, columns, condition in (
        ("ix_memories_turn", ["agent_id", "session", "turn"], "turn IS NOT NULL"),
        ("ix_memories_space", ["agent_id", "space"], "state = 'searchable'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "memories", columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
