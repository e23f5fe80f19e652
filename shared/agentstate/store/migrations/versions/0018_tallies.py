"""Tallies: sums over the whole fleet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018_tallies"
down_revision = "0017_lean_effects"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("what", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("part", sa.String(32), primary_key=True),
        sa.Column("slot", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
