"""The schema of 0.2.0: the tables that `store.tables` declares, and the rules that the database itself enforces.

Until 0.2.0 is tagged this revision follows the declared tables. The first revision after it has to write them out here
as they were then; a test says so.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.grants import APPEND_ONLY
from agentstate.store.queries import load_queries
from agentstate.store.tables import entries, metadata

revision = "0001_initial"
down_revision = None
branch_labels = None
depends_on = None

# The remedy in the text of a refusal on SQLite; Postgres has one text for all tables.
_REMEDIES = {
    **dict.fromkeys(("ledger_transactions", "entries", "effect_evidence"), "; correct a mistake by a new transaction"),
    "agent_state_versions": "; save a new version",
}
# The unique keys by which REPLACE could delete a row without the triggers on DELETE being told. Where the second part
# is RAISE(IGNORE) the new row is skipped, as ON CONFLICT DO NOTHING asks for.
_KEYS = {
    "entries": (("account_id", "seq"), True),
    "agent_state_versions": (("agent_id", "version"), True),
    "account_snapshots": (("account_id", "seq"), False),
    "attestations": (("number",), False),
    "episodes": (("agent_id", "id", "revision"), False),
    "episode_tombstones": (("agent_id", "number"), False),
}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        # Entries are partitioned by month, which their declaration does not say: a month has the key of its own.
        metadata.create_all(connection, [table for table in metadata.sorted_tables if table is not entries])
        _protect_on_postgres(connection)
    else:
        metadata.create_all(connection)
        _protect_on_sqlite()


def _protect_on_postgres(connection: sa.Connection) -> None:
    # Functions with the owner's rights must not take another's table, such as a temporary one, for ours.
    schema, owner = connection.execute(
        sa.text("SELECT quote_ident(current_schema()), quote_literal(current_user)")
    ).one()
    statements = load_queries("agentstate.store.migrations", "postgres.sql")
    for statement in statements.values():
        op.execute(statement.replace("{schema}", schema).replace("{owner}", owner))
    for table in APPEND_ONLY:
        # The episodes of an agent that is forgotten may be deleted; another trigger looks at each deletion.
        rewriting = "UPDATE" if table == "episodes" else "UPDATE OR DELETE"
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE {rewriting} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
        )
    op.execute(
        "SELECT agentstate_add_entries_month(now() + make_interval(months => ahead)) "
        "FROM generate_series(0, 3) AS ahead"
    )


def _protect_on_sqlite() -> None:
    for statement in load_queries("agentstate.store.migrations", "sqlite.sql").values():
        op.execute(statement)
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            if (table, verb) != ("episodes", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                    f"SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused{_REMEDIES.get(table, '')}'); END"
                )
    for table, (key, is_refused) in _KEYS.items():
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        remedy = _REMEDIES[table] if table == "agent_state_versions" else ""
        refusal = f"ABORT, '{table} is append-only: REPLACE is refused{remedy}'" if is_refused else "IGNORE"
        same_row = f"SELECT 1 FROM {table} WHERE {same}"  # noqa: S608 names of ours
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS ({same_row}) "
            f"BEGIN SELECT RAISE({refusal}); END"
        )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
