"""The schema that the migrations make is the one that the code declares, on both databases, however they are run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DatabaseError

from agentstate.errors import SchemaOutdated
from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.money import Money, TransactionLedger
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.migrate import _alembic_config, current_revision, newest_revision, require_newest, upgrade_schema
from agentstate.store.tables import metadata

ROOT = Path(__file__).parents[2]
REVISIONS = [script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()][::-1]
REWRITING = (
    "UPDATE entries SET amount = 1",
    "DELETE FROM entries",
    "UPDATE ledger_transactions SET kind = 'gift'",
    "DELETE FROM ledger_transactions",
)
TRUNCATING = ("TRUNCATE entries", "TRUNCATE ledger_transactions CASCADE")


# These indexes are read in the databases' own words instead.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Skipped unsupported reflection of expression-based index",
    "ignore:autogenerate skipping metadata-specified expression-based index",
)


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> str:
    """A database without any table."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def empty(empty_url: str) -> Iterator[Store]:
    store = Store.open(empty_url)
    yield store
    store.close()


@pytest.fixture
def migrated(request: pytest.FixtureRequest, database: str) -> Iterator[Store]:
    """A database of the same kind that the migrations have made."""
    store = Store.open(request.getfixturevalue(f"{database}_url"))
    yield store
    store.close()


def test_the_migrated_schema_is_the_declared_one(migrated: Store) -> None:
    with migrated.transaction() as tx:
        # SQLite has no identity columns, which Alembic would take for a lost default; the next test compares them.
        options = {
            "compare_type": True,
            "compare_server_default": tx.database.name == "postgresql",
            "include_name": lambda name, kind, _: kind != "table" or not is_month(name),
        }
        assert compare_metadata(MigrationContext.configure(tx.connection, opts=options), metadata) == []


def test_indexes_and_checks_are_the_declared_ones_to_the_letter(migrated: Store, empty: Store) -> None:
    """Alembic compares neither checks nor the conditions of indexes; the databases tell them."""
    with empty.transaction() as tx:
        metadata.create_all(tx.connection)
    declared, found = described(empty), described(migrated)
    assert found.keys() == declared.keys()
    for name, told in declared.items():
        assert found[name] == told, name


def described(store: Store) -> dict[str, Any]:
    """What the database itself says of each table, in words that do not depend on the order of statements."""
    with store.read_connection() as connection:
        inspector = sa.inspect(connection)
        return {
            name: {
                "columns": {column["name"]: _column(column) for column in inspector.get_columns(name)},
                # On Postgres each month has the key of its own.
                "primary key": None if name == "entries" else inspector.get_pk_constraint(name),
                "foreign keys": sorted(inspector.get_foreign_keys(name), key=str),
                "unique": sorted(inspector.get_unique_constraints(name), key=str),
                "checks": sorted(_check(check) for check in inspector.get_check_constraints(name)),
                "indexes": _indexes(connection, name),
            }
            for name in inspector.get_table_names()
            if name != "alembic_version" and not is_month(name)
        }


def is_month(table: str) -> bool:
    """Whether a table is a part of the entries on Postgres; `test_months.py` looks at those."""
    return table.startswith("entries_")


def _check(check: Any) -> tuple[str, str]:
    return check["name"], _squeezed(check["sqltext"])


def _column(column: Any) -> tuple[str, bool, str]:
    return str(column["type"]), column["nullable"], _squeezed(str(column["default"]))


def _indexes(connection: sa.Connection, table: str) -> list[str]:
    query = (
        "SELECT indexdef FROM pg_indexes WHERE tablename = :table"
        if connection.dialect.name == "postgresql"
        else "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL"
    )
    found = (
        _squeezed(sql).replace(" ON ONLY ", " ON ") for (sql,) in connection.execute(sa.text(query), {"table": table})
    )
    return sorted(sql for sql in found if "pk_entries" not in sql)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_two_migrators_at_once_make_one_schema(empty_url: str, empty: Store) -> None:
    code = (
        "import sys; from agentstate.store.migrate import upgrade_schema as upgrade; "
        "sys.stdin.read(1); print(upgrade(sys.argv[1]))"
    )
    migrators = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_url],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT / "shared")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for migrator in migrators:
        assert migrator.stdin is not None
        migrator.stdin.write("go")
        migrator.stdin.flush()
    told = [migrator.communicate(timeout=120) for migrator in migrators]
    assert [migrator.returncode for migrator in migrators] == [0, 0, 0], told
    assert {out.strip() for out, _ in told} == {newest_revision()}
    require_newest(empty)
    with empty.read_connection() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM alembic_version")).scalar_one() == 1


def test_a_store_without_a_schema_is_refused_with_the_remedy(empty_url: str, empty: Store) -> None:
    told = f"is at schema revision none, this version needs {newest_revision()}. Run `agentstate migrate`"
    with pytest.raises(SchemaOutdated, match=re.escape(told)):
        _ = Runtime(Settings.load(database_url=empty_url)).jobs
    assert current_revision(empty) is None
    upgrade_schema(empty_url)
    require_newest(empty)


def test_the_first_revision_follows_the_declared_tables_only_while_it_is_the_only_one() -> None:
    """Afterwards a fresh database would have what later revisions add before they run."""
    source = Path(ScriptDirectory.from_config(_alembic_config()).get_revision(REVISIONS[0]).path).read_text("utf-8")
    assert len(REVISIONS) == 1 or "create_all" not in source


def test_facts_are_kept_by_another_migration_and_history_stays_append_only(empty_url: str, empty: Store) -> None:
    upgrade_schema(empty_url)
    ledger = TransactionLedger(empty, "ag_old")
    ledger.deposit("start", "casino", Money("2.50"))
    jobs = Jobs(empty, NullWakeUpSender(), Settings.load(database_url=empty_url))
    job_id = jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_old")
    upgrade_schema(empty_url)
    assert ledger.balance("casino") == Money("2.50")
    assert jobs.get(job_id).agent_id == "ag_old"
    for statement in REWRITING + (TRUNCATING if empty.database.name == "postgresql" else ()):
        with pytest.raises(DatabaseError, match="append-only"), empty.transaction() as tx:
            tx.connection.execute(sa.text(statement))
    ledger.deposit("more", "casino", Money("1"))
    assert ledger.balance("casino") == Money("3.50")
