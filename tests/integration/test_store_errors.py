"""Errors of the databases become errors of ours by SQLSTATE or error code, whatever the words of the message."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest

from agentstate.errors import AgentStateError, InvalidInput, StoreBusy, StoreReadOnly, StoreUnavailable
from agentstate.store import Store, sqlite
from agentstate.store.migrate import upgrade_schema

pytestmark = pytest.mark.database("postgres", pool_size=1)

TIMEOUT_S = 20


@pytest.fixture
def rows(store: Store) -> None:
    with store.transaction() as tx:
        tx.connection.exec_driver_sql("INSERT INTO currencies (code, scale) VALUES ('AAA', 2), ('BBB', 2)")


def run(store: Store, *statements: str) -> None:
    with store.transaction() as tx:
        for statement in statements:
            tx.connection.exec_driver_sql(statement)


def test_a_pool_without_a_free_connection(store: Store) -> None:
    store.engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with store.transaction(), store.read_connection(), pytest.raises(StoreBusy, match="in use") as told:
        run(store, "SELECT 1")
    assert told.value.retryable


@pytest.mark.usefixtures("rows")
def test_a_row_that_stays_locked(store: Store) -> None:
    with store.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE currencies SET scale = 3 WHERE code = 'AAA'")
        with pytest.raises(StoreBusy):
            run(store, "SET LOCAL lock_timeout = '50ms'", "UPDATE currencies SET scale = 4 WHERE code = 'AAA'")


@pytest.mark.usefixtures("rows")
def test_a_deadlock_ends_one_of_the_two_who_may_try_again(store: Store) -> None:
    barrier, told = threading.Barrier(2), []

    def lock_both(*codes: str) -> None:
        try:
            with store.transaction() as tx:
                for code in codes:
                    tx.connection.exec_driver_sql(f"UPDATE currencies SET scale = 3 WHERE code = '{code}'")  # noqa: S608
                    if code == codes[0]:
                        barrier.wait(TIMEOUT_S)
        except AgentStateError as error:
            told.append(error)

    threads = [threading.Thread(target=lock_both, args=codes) for codes in (("AAA", "BBB"), ("BBB", "AAA"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [type(error) for error in told] == [StoreBusy]


def test_a_statement_that_takes_too_long(store: Store) -> None:
    with pytest.raises(StoreBusy):
        run(store, "SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(5)")


def test_a_server_that_takes_no_writes(store: Store) -> None:
    with pytest.raises(StoreReadOnly, match="AGENTSTATE_DATABASE_URL") as told:
        run(store, "SET TRANSACTION READ ONLY", "INSERT INTO currencies (code, scale) VALUES ('CCC', 2)")
    assert told.value.retryable


def test_a_value_that_no_column_can_hold(store: Store) -> None:
    with pytest.raises(InvalidInput) as told:
        run(store, "INSERT INTO currencies (code, scale) VALUES ('CCC', 99999)")
    assert not told.value.retryable


def test_a_session_that_the_server_ends(store: Store, postgres_url: str) -> None:
    def end_own_session() -> None:
        with store.transaction() as tx:
            backend = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (backend,))
            tx.connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreUnavailable):
        end_own_session()
    run(store, "SELECT 1")


def test_the_same_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    upgrade_schema(f"sqlite:///{path}")
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    store = Store.open(f"sqlite:///{path}")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        run(store, "SELECT 1")
    blocker.close()
    with pytest.raises(StoreReadOnly):
        run(store, "PRAGMA query_only = ON", "INSERT INTO currencies (code, scale) VALUES ('CCC', 2)")
    store.close()
