"""Versioned state: every save of an agent's state, append-only by the database's own rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0005_state"
down_revision = "0004_portfolio"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agent_states",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("version > 0", name="version_positive"),
    )
    op.create_index("ix_agent_states_schema_version", "agent_states", ["schema_version"])
    op.create_table(
        "agent_state_versions",
        sa.Column("agent_id", sa.String(128), sa.ForeignKey("agent_states.agent_id"), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("state", Json, nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("cause IN ('save', 'migration')", name="cause_known"),
    )
    op.create_index("ix_agent_state_versions_time", "agent_state_versions", ["agent_id", "saved_at", "version"])
    if op.get_bind().dialect.name == "postgresql":
        _guard_on_postgres()
    else:
        _guard_on_sqlite()


def _guard_on_postgres() -> None:
    # The function came with revision 0003_money.
    op.execute(
        "CREATE TRIGGER agent_state_versions_append_only BEFORE UPDATE OR DELETE ON agent_state_versions "
        "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
    )
    op.execute(
        "CREATE TRIGGER agent_state_versions_no_truncate BEFORE TRUNCATE ON agent_state_versions "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
    )


def _guard_on_sqlite() -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER agent_state_versions_no_{verb.lower()} BEFORE {verb} ON agent_state_versions BEGIN "
            f"SELECT RAISE(ABORT, 'agent_state_versions is append-only: {verb} is refused; save a new version'); END"
        )
    # REPLACE deletes the row that it meets without telling the triggers on DELETE.
    op.execute(
        "CREATE TRIGGER agent_state_versions_no_replace BEFORE INSERT ON agent_state_versions WHEN EXISTS ("
        "SELECT 1 FROM agent_state_versions WHERE agent_id = NEW.agent_id AND version = NEW.version) BEGIN "
        "SELECT RAISE(ABORT, 'agent_state_versions is append-only: REPLACE is refused; save a new version'); END"
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
