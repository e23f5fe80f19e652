"""The durable store's engine: how each database is opened so that "committed" means on disk.

Postgres runs at READ COMMITTED, where a claim sees what others have just committed. SQLite gets what its driver leaves
out: write-ahead log, `synchronous=FULL` (with NORMAL a power cut takes back commits), foreign keys, and transactions
that begin with the write lock, so that two writers wait for each other instead of failing half-way.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from agentstate.errors import ConfigurationError
from agentstate.state import codec
from agentstate.store.liveness import watch_pool

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
SQLITE_BUSY_TIMEOUT_MS = 30_000
READ_ONLY_OPTION = "agentstate_read_only"


def open_engine(database_url: str, *, pool_size: int = 5) -> Engine:
    """An engine for `database_url`; connects on first use.

    Raises:
        ConfigurationError: the URL cannot be read, names another database, or a folder that is not there.
    """
    url = _parse_url(database_url)
    return _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _postgres_engine(url, pool_size)


def _parse_url(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError(
            "the database URL cannot be read; write postgresql+psycopg://USER@HOST/DATABASE, with a password, or sqlite:///PATH."
        ) from None
    if url.get_backend_name() not in {"postgresql", "sqlite"}:
        raise ConfigurationError(f"{url.get_backend_name()} is not supported: use postgresql+psycopg or sqlite.")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _postgres_engine(url: URL, pool_size: int) -> Engine:
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC",
        },
        json_serializer=codec.dumps,
        json_deserializer=codec.loads,
    )
    watch_pool(engine)
    return engine


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "SQLite needs a file, sqlite:///path: what is kept in memory alone is lost with the process."
        )
    folder = Path(url.database).parent
    if not folder.is_dir():
        raise ConfigurationError(f"the folder {folder} of the SQLite database is not there; make it first.")
    engine = sa.create_engine(
        url,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": SQLITE_BUSY_TIMEOUT_MS / 1000},
        # Its JSON columns would make a float of a bare number beyond 64 bits.
        json_serializer=codec.boxed,
        json_deserializer=codec.loads,
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READ_ONLY_OPTION, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
