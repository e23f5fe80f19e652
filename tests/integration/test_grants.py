"""The application's own role on Postgres: it does all that the library does, and cannot touch what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from psycopg import sql
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from agentstate.cli.root import cli
from agentstate.doctor import System, run_checks
from agentstate.errors import ConfigurationError, StoreUnavailable
from agentstate.ids import new_hex
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import WRITTEN_VERSION, Episode, pack_content
from agentstate.memory.episodes.forgetting import forget_episodes
from agentstate.money import Attestor, Guards, Money, TransactionLedger
from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from agentstate.store import Store
from agentstate.store.grants import APPEND_ONLY, grant_rights
from agentstate.store.migrate import current_revision, newest_revision, upgrade_schema
from agentstate.store.partitions import create_partitions
from agentstate.store.tables import episodes, metadata
from agentstate.store.tables.jobs import jobs

ROLE = "agentstate_app"
PASSWORD = "pf_test_app"  # pragma: allowlist secret


@pytest.fixture
def app_url(postgres_url: str) -> Iterator[str]:
    """The test's database as the application's role sees it; the role has been given its rights."""
    url = make_url(postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'".encode())
        yield url.set(username=ROLE, password=PASSWORD).render_as_string(hide_password=False)
        admin.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())


@pytest.fixture
def app(postgres_url: str, app_url: str) -> Iterator[Store]:
    with closing(Store.open(postgres_url)) as owner:
        grant_rights(owner, ROLE)
    opened = Store.open(app_url)
    yield opened
    opened.close()


def refused(store: Store, statement: str, told: str) -> None:
    with pytest.raises((DBAPIError, StoreUnavailable), match=told), store.transaction() as tx:
        tx.connection.exec_driver_sql(statement)


def test_the_role_works_with_all_that_the_library_keeps(app: Store, app_url: str, settings: Settings) -> None:
    ledger = TransactionLedger(app, "ag_1")
    ledger.deposit("start", "casino", Money(100))
    hold = ledger.reserve("hold", "casino", Money(5))
    ledger.settle("settle", hold.id)
    assert ledger.balance("casino") == Money(95)
    Guards(app, "ag_1").limit(total=Decimal(50))
    with Guards(app, "ag_1").use("5", service="casino"):
        pass
    assert Attestor(app).run().is_sound
    runtime = Runtime(settings.model_copy(update={"database_url": app_url}))
    assert runtime.jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_1")
    runtime.close()
    with app.transaction() as tx:
        for table in metadata.tables.values():
            tx.connection.execute(sa.select(table).limit(1)).all()
        tx.connection.execute(sa.delete(jobs))


def test_what_is_append_only_is_beyond_the_role(app: Store) -> None:
    for table in APPEND_ONLY:
        column = next(iter(metadata.tables[table].columns)).name
        refused(app, f"UPDATE {table} SET {column} = {column}", "permission denied")  # noqa: S608 names of ours
        refused(app, f"DELETE FROM {table}", "permission denied")  # noqa: S608 names of ours
        refused(app, f"TRUNCATE {table} CASCADE", "permission denied")
        for change in ("DISABLE TRIGGER ALL", "ADD COLUMN more text", "OWNER TO CURRENT_USER"):
            refused(app, f"ALTER TABLE {table} {change}", "must be owner")
        refused(app, f"DROP TABLE {table} CASCADE", "must be owner")


def test_every_table_that_a_trigger_keeps_append_only_is_kept_so_by_grants_too(app: Store) -> None:
    query = sa.text(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE "
        "tgfoid = 'agentstate_append_only'::regproc AND NOT relispartition"
    )
    with app.read_connection() as connection:
        assert set(connection.execute(query).scalars()) == set(APPEND_ONLY)


def test_nor_can_it_go_around_by_a_month_or_a_function(app: Store) -> None:
    TransactionLedger(app, "ag_1").deposit("d", "casino", Money(1))
    for statement in (
        "SELECT * FROM entries_other",
        "DELETE FROM entries_other",
        "INSERT INTO entries_other DEFAULT VALUES",
    ):
        refused(app, statement, "permission denied")
    refused(app, "SELECT agentstate_guard_entries_part('jobs')", "permission denied")
    refused(app, "CREATE TABLE mine (x int)", "permission denied")
    refused(app, "SET session_replication_role = replica", "permission denied")
    refused(app, "UPDATE alembic_version SET version_num = 'x'", "permission denied")


def archived(store: Store) -> list[str]:
    with store.read_connection() as connection:
        return list(connection.execute(sa.select(episodes.c.agent_id).order_by(episodes.c.agent_id)).scalars())


def test_an_agent_is_forgotten_by_the_role_and_no_episode_otherwise(
    app: Store, app_url: str, settings: Settings, postgres_url: str
) -> None:
    archive = EpisodeArchive(app)
    for agent_id in ("ag_1", "ag_1", "ag_2"):
        archive.add_episodes([Episode(WRITTEN_VERSION, agent_id, new_hex(), "bet", 1, pack_content({}, None))])
    for statement in (
        "DELETE FROM episodes WHERE agent_id = 'ag_1'",
        "INSERT INTO episode_tombstones VALUES ('ag_1', 1, 1000, 0, now())",
        "UPDATE episode_tombstones SET to_seq = 1000",
        "CREATE TRIGGER mine AFTER DELETE ON episodes EXECUTE FUNCTION agentstate_forgotten_only()",
    ):
        refused(app, statement, "permission denied")
    runtime = Runtime(settings.model_copy(update={"database_url": app_url, "embedder": "lexical"}))
    with closing(runtime):
        receipt = runtime.memory.of("ag_1").forget_all()
    assert {erased.store: (erased.removed, erased.left) for erased in receipt.stores}["episodes"] == (2, 0)
    assert archived(app) == ["ag_2"]
    with app.transaction() as tx:
        assert forget_episodes(tx, "ag_2").removed == 1
    assert archived(app) == []


def test_a_role_that_was_given_too_much_meets_the_trigger(app: Store, postgres_url: str) -> None:
    with closing(Store.open(postgres_url)) as owner, owner.transaction() as tx:
        tx.connection.exec_driver_sql(f"GRANT DELETE ON episodes TO {ROLE}")
    EpisodeArchive(app).add_episodes([Episode(WRITTEN_VERSION, "ag_1", new_hex(), "bet", 1, pack_content({}, None))])
    refused(app, "DELETE FROM episodes", "unless the whole agent is forgotten")
    # A table of the role's own does not pass for the one that the trigger means.
    own = "CREATE TEMPORARY TABLE episode_tombstones AS SELECT 'ag_1' AS agent_id, 1000 AS to_seq"
    refused(app, f"{own}; DELETE FROM episodes", "unless the whole agent is forgotten")  # noqa: S608 text of ours
    assert archived(app) == ["ag_1"]


def test_months_are_made_by_the_role(app: Store, postgres_url: str) -> None:
    with closing(Store.open(postgres_url)) as owner, owner.transaction() as tx:
        tx.connection.exec_driver_sql(
            "DO $$ BEGIN EXECUTE 'DROP TABLE entries_' || to_char(now() + interval '1 month', 'YYYY_MM'); END $$"
        )
    assert create_partitions(app) == 1
    TransactionLedger(app, "ag_1").deposit("d", "casino", Money(1))
    assert create_partitions(app) == 0


def test_rights_last_through_migrations(app: Store, postgres_url: str) -> None:
    with closing(Store.open(postgres_url)) as owner, owner.transaction() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE later (x int)")
    refused(app, "INSERT INTO later VALUES (1)", "permission denied")
    upgrade_schema(postgres_url)
    with app.transaction() as tx:
        tx.connection.exec_driver_sql("INSERT INTO later VALUES (1)")
    assert current_revision(app) == newest_revision()


@pytest.fixture
def file_of(postgres_url: str, tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """A file with the address of a role; what roles were made are removed."""
    named = []

    def write(role: str, password: str) -> Path:
        named.append(role)
        url = make_url(postgres_url).set(username=role, password=password)
        (tmp_path / role).write_text(url.render_as_string(hide_password=False) + "\n")
        return tmp_path / role

    yield write
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        for role in set(named) - {admin.info.user}:
            if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                name = sql.Identifier(role)
                admin.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


def migrated(url: str, path: Path) -> Result:
    words = ["migrate", "--app-url-file", str(path)]
    return CliRunner().invoke(cli, words, prog_name="agentstate", env={PREFIX + "DATABASE_URL": url})


def test_the_role_of_an_address_is_made_with_its_password(
    postgres_url: str, file_of: Callable[[str, str], Path]
) -> None:
    for password in ("pf_test_first", "pf_test_first", "pf_test_'second'"):
        path = file_of('agentstate "new"', password)
        done = migrated(postgres_url, path)
        assert (done.exit_code, "neither change nor remove" in done.output) == (0, True), done.output
        with closing(Store.open(path.read_text().strip())) as store:
            TransactionLedger(store, "ag_1").deposit("start", "casino", Money(100))
            refused(store, "DELETE FROM entries", "permission denied")


def test_an_address_that_names_no_lesser_role_is_refused(
    postgres_url: str, app_url: str, file_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    owner = make_url(postgres_url)
    assert "whom no grant binds" in migrated(postgres_url, file_of(str(owner.username), "pf_test_other")).output
    (tmp_path / "file").write_text("sqlite:///x.db")
    assert "is not one of Postgres with a role" in migrated(postgres_url, tmp_path / "file").output
    with closing(Store.open(postgres_url)) as store:
        grant_rights(store, ROLE)
    other = file_of("agentstate_other", "pf_test_other")
    told = migrated(app_url, other)
    assert told.exit_code == 1
    assert "could not be made or given its password" in told.output
    assert "pf_test_other" not in told.output


def test_the_command_and_the_doctor(postgres_url: str, app_url: str, sqlite_url: str) -> None:
    def run(*words: str, url: str = postgres_url) -> tuple[int, str]:
        result = CliRunner().invoke(cli, words, prog_name="agentstate", env={PREFIX + "DATABASE_URL": url})
        return result.exit_code, result.output

    assert run("migrate", "--app-role", ROLE)[0] == 0
    assert "neither change nor remove" in run("migrate", "--app-role", ROLE)[1]
    assert run("migrate", "--check", url=app_url)[0] == 0
    assert run("migrate", "--check", "--app-role", ROLE)[0] == 2
    assert "make it first" in run("migrate", "--app-role", "nobody_such")[1]
    assert "whom no grant binds" in run("migrate", "--app-role", make_url(postgres_url).username or "")[1]
    assert "SQLite has no roles" in run("migrate", "--app-role", ROLE, url=sqlite_url)[1]
    for url, told in (
        (postgres_url, "owns the tables, so triggers alone"),
        (app_url, "cannot change or remove entries"),
        (sqlite_url, "whoever can write the file"),
    ):
        with System(lambda url=url: Settings.load(database_url=url)) as system:
            found = {item.check: item.finding for item in run_checks(system, only=["database", "schema", "rights"])}
        assert told in found["rights"].found
        assert found["rights"].verdict == "ok"


def test_a_member_of_the_owner_is_no_role_of_its_own(postgres_url: str, app_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"GRANT {make_url(postgres_url).username} TO {ROLE}".encode())
    with closing(Store.open(postgres_url)) as owner, pytest.raises(ConfigurationError, match="member of it"):
        grant_rights(owner, ROLE)
    assert app_url
