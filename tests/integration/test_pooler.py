"""Agents behind pgbouncer, and a Postgres that falls silent."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from agentstate.agent import Fleet
from agentstate.doctor.database import check_database
from agentstate.doctor.system import System
from agentstate.errors import ConfigurationError, StoreUnavailable
from agentstate.money.amounts import Money
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store import Store, postgres_connection
from agentstate.store.postgres import is_pooled
from tests.stubs.pgbouncer import pgbouncer
from tests.stubs.proxy import Proxy

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def refusing(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Through a pgbouncer that refuses start-up options, as it does by default."""
    with pgbouncer(module_postgres_url, tmp_path_factory.mktemp("refusing")) as url:
        yield url


@pytest.fixture(scope="module")
def ignoring(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Through a pgbouncer that takes start-up options and does nothing with them."""
    with pgbouncer(module_postgres_url, tmp_path_factory.mktemp("ignoring"), ignored="options") as url:
        yield url


@pytest.fixture(params=["refusing", "ignoring"])
def pooled_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def store(pooled_url: str) -> Iterator[Store]:
    opened = Store.open(pooled_url)
    yield opened
    opened.close()


def test_the_server_refuses_options_as_it_does_by_default(refusing: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(refusing.replace("+psycopg", ""), options="-c statement_timeout=1s")


def test_a_pooler_is_found_out_and_a_direct_connection_is_not_one(store: Store, module_postgres_url: str) -> None:
    with store.read_connection() as connection:
        assert is_pooled(connection)
    direct = Store.open(module_postgres_url)
    with direct.read_connection() as connection:
        assert not is_pooled(connection)
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
    direct.close()


@pytest.mark.parametrize("autocommit", [False, True])
def test_each_transaction_has_the_time_out_and_the_zone(store: Store, autocommit: bool) -> None:
    show = sa.text("SELECT current_setting('statement_timeout') || ' ' || current_setting('timezone')")
    with store.read_connection(autocommit=autocommit) as connection:
        assert connection.execute(show).scalar_one() == "30s UTC"
    with store.transaction() as tx:
        assert tx.connection.execute(show).scalar_one() == "30s UTC"
        assert abs(tx.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.commit_one("SELECT current_setting('statement_timeout')", {}) == ("30s",)


def test_nothing_is_left_in_the_servers_sessions(store: Store, pooled_url: str) -> None:
    for _ in range(12):
        with store.transaction() as tx:
            tx.connection.execute(sa.text("SELECT 1 WHERE 1 = :one"), {"one": 1})
        store.commit_one("SELECT %(n)s::int", {"n": 1})
    with psycopg.connect(pooled_url.replace("+psycopg", ""), prepare_threshold=None) as bare:
        assert bare.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert bare.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_agents_of_many_threads_do_their_work_through_a_pooler(pooled_url: str, redis_url: str) -> None:
    runtime = Runtime(Settings.load(database_url=pooled_url, redis_url=redis_url, embedder="lexical"), pool_size=12)
    fleet = Fleet(runtime)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        agent = fleet.agent(f"ag_pool_{number}_{make_url(pooled_url).port}")
        try:
            for n in range(12):
                agent.ledger.deposit(f"in:{n}", "casino", Money("1.25"))
                agent.memory.remember(f"The note {n} of {number}")
                agent.episodes.record("bet", {"n": n})
                agent.jobs.submit("cache.refresh", {"service": "casino"}, coalesce_key="one")
                with agent.transaction():
                    agent.memory.remember(f"Both or none {n}")
                    agent.conversation("s").add("user", f"turn {n}")
            assert agent.memory.recall("note").retrievers
            assert len(agent.episodes.get_recent(50)) >= 12
        except BaseException as error:  # noqa: BLE001 it is raised below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    runtime.close()
    assert errors == []


def test_a_session_pooler_works_too(module_postgres_url: str, tmp_path: Path) -> None:
    with pgbouncer(module_postgres_url, tmp_path, mode="session", ignored="options") as url:
        store = Store.open(url)
        with store.transaction() as tx:
            assert tx.connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
        store.close()


@pytest.mark.parametrize(
    ("option", "prepared"),
    [("prepare_threshold=0", None), ("prepare_threshold=none", None), ("prepare_threshold=2", 2), ("", 5)],
)
def test_options_of_the_url_are_read(module_postgres_url: str, option: str, prepared: int | None) -> None:
    store = Store.open(f"{module_postgres_url}?{option}")
    with store.read_connection() as connection:
        driver = connection.connection.dbapi_connection
        assert driver.prepare_threshold == prepared  # type: ignore[union-attr]
        assert is_pooled(connection) == (prepared is None)
    store.close()


def test_own_options_of_the_url_are_kept(module_postgres_url: str) -> None:
    store = Store.open(f"{module_postgres_url}?options=-c%20work_mem%3D7MB&connect_timeout=3")
    with store.read_connection() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar_one() == "7MB"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
    store.close()


@pytest.mark.parametrize("option", ["prepare_threshold=often", "sslmod=require", "pool_mode=transaction"])
def test_an_option_that_nobody_knows_is_refused_by_name(module_postgres_url: str, option: str) -> None:
    with pytest.raises(ConfigurationError, match=option.split("=")[option.startswith("prep")]):
        Store.open(f"{module_postgres_url}?{option}")


def test_doctor_tells_of_the_pooler(pooled_url: str, module_postgres_url: str) -> None:
    with System(lambda: Settings.load(database_url=pooled_url), env_file=None, workers_timeout_s=0) as system:
        assert "behind a pooler" in check_database(system).found
    with System(lambda: Settings.load(database_url=module_postgres_url), env_file=None, workers_timeout_s=0) as system:
        assert "behind a pooler" not in check_database(system).found


# A server that falls silent


def test_a_server_that_is_stopped_is_given_up_in_time(
    module_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_WITHIN_S", 1.0)
    store = Store.open(module_postgres_url)
    with store.read_connection() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer within 1 s"), store.transaction() as tx:
            tx.connection.exec_driver_sql("SELECT 1")
        assert time.monotonic() - began < PATIENCE_S / 2
    finally:
        os.kill(pid, signal.SIGCONT)
    with store.transaction() as tx:
        assert tx.connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    store.close()


@pytest.mark.parametrize("verb", ["read", "commit", "one"])
def test_a_network_that_swallows_everything_is_given_up_in_time(
    module_postgres_url: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_WITHIN_S", 1.0)
    url = make_url(module_postgres_url)
    with Proxy("127.0.0.1", url.port or 0) as wire:
        store = Store.open(url.set(port=wire.port).render_as_string(hide_password=False))
        with store.transaction() as tx:
            tx.connection.exec_driver_sql("SELECT 1")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), contextlib.ExitStack() as stack:  # noqa: PT012 one of three
            if verb == "read":
                wire.block()
                with store.read_connection() as connection:
                    connection.exec_driver_sql("SELECT 1")
            elif verb == "one":
                wire.block()
                store.commit_one("SELECT 1", {})
            else:
                tx = stack.enter_context(store.transaction())
                tx.connection.exec_driver_sql("SELECT 1")
                wire.block()
        assert time.monotonic() - began < PATIENCE_S / 2
        wire.restore()
        with store.transaction() as tx:
            assert tx.connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        store.close()
