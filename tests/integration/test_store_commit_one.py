"""Statements that are transactions of their own, and pooled connections that died while nobody looked."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from agentstate.errors import StoreUnavailable
from agentstate.store import Store, postgres

pytestmark = pytest.mark.database("postgres", pool_size=1)

ADD = "INSERT INTO currencies (code, scale) VALUES (%(code)s, %(scale)s) RETURNING scale"


def backend(store: Store) -> int:
    """The server's process behind the one pooled connection."""
    with store.read_connection() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def end_backend(url: str, pid: int) -> None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    engine.dispose()


def test_what_it_wrote_is_durable_when_it_returns(store: Store) -> None:
    assert store.commit_one(ADD, {"code": "GBP", "scale": 2}) == (2,)
    with store.read_connection() as connection:
        assert connection.exec_driver_sql("SELECT scale FROM currencies WHERE code = 'GBP'").scalar_one() == 2
    with store.transaction() as tx:
        assert tx.connection.in_transaction()


def test_what_a_constraint_refuses_is_not_written_and_does_no_harm(store: Store) -> None:
    store.commit_one(ADD, {"code": "GBP", "scale": 2})
    assert store.commit_one(ADD, {"code": "GBP", "scale": 3}) is None
    assert store.commit_one("SELECT scale FROM currencies WHERE code = %(code)s", {"code": "GBP"}) == (2,)


def test_reading_leaves_prepared_what_the_driver_has_prepared(store: Store) -> None:
    for number in range(8):
        store.commit_one(ADD, {"code": f"C{number}", "scale": 2})
    assert backend(store)
    with store.read_connection() as connection:
        prepared = connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements").scalars().all()
    assert [text for text in prepared if text.startswith("INSERT INTO currencies")]


def test_an_effect_is_found_by_its_key_before_the_server_knows_how_many_there_are(store: Store) -> None:
    query = "EXPLAIN (GENERIC_PLAN) SELECT FROM effects WHERE agent_id = $1 AND key = $2"
    with store.read_connection() as connection:
        [plan] = [row for row in connection.exec_driver_sql(query).scalars() if "using" in row]
    assert "uq_effects_agent_id_key" in plan


def test_an_error_names_no_values(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere") as told:
        store.commit_one("SELECT %(word)s::text FROM nowhere", {"word": "the-secret-word"})
    assert isinstance(told.value.__cause__, DBAPIError)
    assert "the-secret-word" not in f"{told.value} {told.value.__cause__}"
    assert store.commit_one("SELECT 1", {}) == (1,)


def test_a_connection_that_the_server_ended_is_replaced_before_it_is_used(store: Store, postgres_url: str) -> None:
    first = backend(store)
    end_backend(postgres_url, first)
    assert store.commit_one("SELECT 1", {}) == (1,)
    assert backend(store) != first


def test_a_connection_that_lay_idle_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    backend(store)
    asked: list[object] = []
    monkeypatch.setattr(store.engine.dialect, "do_ping", lambda connection: not asked.append(connection))
    backend(store)
    assert asked == []
    monkeypatch.setattr(postgres, "IDLE_S", 0.0)
    backend(store)
    assert len(asked) == 1


def test_a_connection_that_breaks_during_a_statement_is_the_store_being_unavailable(
    store: Store, postgres_url: str
) -> None:
    pid = backend(store)
    killer = threading.Timer(0.3, end_backend, (postgres_url, pid))
    killer.start()
    with pytest.raises(StoreUnavailable):
        store.commit_one("SELECT pg_sleep(60)", {})
    killer.join()
    assert store.commit_one("SELECT 1", {}) == (1,)
