"""Effects that ended long ago are thinned to what tells that their key was used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_tombstones"
down_revision = "0011_partitions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE effects RENAME COLUMN expires_at TO expired_at")
    whole = sa.text("resolved_at IS NOT NULL AND expired_at IS NULL")
    op.create_index("ix_effects_whole", "effects", ["resolved_at"], postgresql_where=whole, sqlite_where=whole)


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
