"""The table of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0001_jobs"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("queue", sa.String(32), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("agent_id", sa.String(128), nullable=True),
        sa.Column("payload", Json, nullable=False),
        sa.Column("dedupe_key", sa.String(200), nullable=True),
        sa.Column("coalesce_key", sa.String(200), nullable=True),
        sa.Column("status", sa.String(12), nullable=False, server_default="ready"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String(128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("woken_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", Json, nullable=True),
        sa.Column("trace", sa.String(64), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("status IN ('ready', 'running', 'done', 'dead', 'discarded')", name="status_known"),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
        sa.CheckConstraint(
            "(status IN ('done', 'dead', 'discarded')) = (finished_at IS NOT NULL)", name="finished_when_ended"
        ),
    )
    _unique("uq_jobs_dedupe", ["kind", sa.text("coalesce(agent_id, '')"), "dedupe_key"], "dedupe_key IS NOT NULL")
    _unique("uq_jobs_coalesce", ["kind", "coalesce_key"], "coalesce_key IS NOT NULL AND status = 'ready'")
    still_open = sa.text("status IN ('ready', 'running')")
    op.create_index("ix_jobs_open", "jobs", ["status", "due_at"], postgresql_where=still_open, sqlite_where=still_open)
    op.create_index("ix_jobs_ended", "jobs", ["status", "finished_at"])
    op.create_index("ix_jobs_agent", "jobs", ["agent_id", "created_at"])


def _unique(name: str, columns: list[str | sa.TextClause], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", columns, unique=True, postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
