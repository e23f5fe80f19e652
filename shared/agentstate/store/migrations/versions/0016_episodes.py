"""The archive of episodes, append-only; what Redis missed; how far lessons were drawn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0016_episodes"
down_revision = "0015_backfill"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "episodes",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("event_type", sa.String(128), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("archived_at", UtcDateTime(), nullable=False),
        sa.UniqueConstraint("agent_id", "id", "revision"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_episodes_time", "episodes", ["agent_id", "at_us", "seq"])
    op.create_index("ix_episodes_seq", "episodes", ["agent_id", "seq"])
    op.create_table(
        "episode_returns",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("id", sa.Uuid(), primary_key=True),
    )
    op.create_table(
        "episode_lessons",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("drawn_at", UtcDateTime(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _guard_on_postgres()
    else:
        _guard_on_sqlite()


def _guard_on_postgres() -> None:
    # The function is that of revision 0003_money.
    op.execute(
        "CREATE TRIGGER episodes_append_only BEFORE UPDATE OR DELETE ON episodes "
        "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
    )
    op.execute(
        "CREATE TRIGGER episodes_no_truncate BEFORE TRUNCATE ON episodes "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
    )


def _guard_on_sqlite() -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER episodes_no_{verb.lower()} BEFORE {verb} ON episodes BEGIN "
            f"SELECT RAISE(ABORT, 'episodes is append-only: {verb} is refused'); END"
        )
    # REPLACE deletes the row that it meets without telling the triggers on DELETE; it is skipped instead.
    op.execute(
        "CREATE TRIGGER episodes_no_replace BEFORE INSERT ON episodes WHEN EXISTS (SELECT 1 FROM episodes "
        "WHERE agent_id = NEW.agent_id AND id = NEW.id AND revision = NEW.revision) BEGIN SELECT RAISE(IGNORE); END"
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
