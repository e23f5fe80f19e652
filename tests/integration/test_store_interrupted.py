"""A Ctrl-C that arrives inside the database's driver ends the program as a Ctrl-C, whatever the driver makes of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import psycopg
import pytest
import sqlalchemy as sa

from agentstate.errors import StoreUnavailable
from agentstate.store import Store, postgres
from tests.worlds.waiting import until

# Sleeps within the server, and reports how it ended.
PROGRAM = """
import sys
import sqlalchemy as sa
from agentstate.store import Store

store = Store.open(sys.argv[1])
try:
    with store.read_connection() as connection:
        connection.execute(sa.text("SELECT pg_sleep(60)"))
except KeyboardInterrupt:
    print("interrupted")
"""


SLEEPS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%' AND state = 'active'"""


def wait_asleep(url: str) -> None:
    """A query that is cancelled before the server has begun with it is not cancelled at all: the driver waits."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        until(lambda: connection.execute(SLEEPS).fetchone() != (0,))


def test_a_query_that_is_interrupted_raises_the_interrupt(postgres_url: str) -> None:
    command = [sys.executable, "-c", PROGRAM, postgres_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_asleep(postgres_url)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert output == "interrupted\n", errors


def test_an_interrupt_within_the_ping_of_a_pooled_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(postgres_url)
    with store.read_connection() as connection:
        connection.execute(sa.text("SELECT 1"))

    def interrupted(_connection: object) -> bool:
        try:
            raise KeyboardInterrupt
        finally:
            raise psycopg.ProgrammingError("can't change 'autocommit' now: connection in transaction status ACTIVE")

    monkeypatch.setattr(store.engine.dialect, "do_ping", interrupted)
    monkeypatch.setattr(postgres, "IDLE_S", 0.0)
    with pytest.raises(KeyboardInterrupt), store.read_connection():
        pass
    store.close()


def test_a_statement_that_the_server_refuses_is_an_error_of_ours_with_its_cause(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    with pytest.raises(StoreUnavailable, match="no_such_table") as caught, store.read_connection() as connection:
        connection.execute(sa.text("SELECT * FROM no_such_table"))
    assert isinstance(caught.value.__cause__, sa.exc.ProgrammingError)
    store.close()
