"""SQLite: its engine and its statements.

It gets what its driver leaves out: write-ahead log, `synchronous=FULL` (with NORMAL a power cut takes back commits),
foreign keys, and transactions that begin with the write lock, so that two writers wait for each other instead of
failing half-way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine

from agentstate.errors import ConfigurationError
from agentstate.state import codec
from agentstate.store.database import Database, SelectFor
from agentstate.store.tables.minor_units import add_sqlite_functions

BUSY_TIMEOUT_MS = 30_000
READ_ONLY_OPTION = "agentstate_read_only"


class SqliteDatabase(Database):
    """A SQLite file, for the processes of one machine."""

    name = "sqlite"
    is_server = False
    has_single_statement_commit = False

    def open_engine(self, url: URL, *, pool_size: int) -> Engine:
        """Open an engine on a file, with the pragmas that make a commit durable."""
        del pool_size
        if not url.database or url.database == ":memory:":
            raise ConfigurationError(
                "SQLite needs a file, sqlite:///path: what is kept in memory alone is lost with the process."
            )
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise ConfigurationError(f"the folder {folder} of the SQLite database is not there; make it first.")
        engine = sa.create_engine(
            url,
            connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
            # Its JSON columns would make a float of a bare number beyond 64 bits.
            json_serializer=codec.dumps_boxed,
            json_deserializer=codec.loads,
        )
        sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", _begin_transaction)
        return engine

    def insert_into(self, table: sa.Table) -> sqlite.Insert:
        """Return SQLite's INSERT."""
        return sqlite.insert(table)

    def read_options(self, connection: Connection, *, autocommit: bool) -> dict[str, Any]:
        """Return the option by which a transaction does not take the write lock."""
        del connection, autocommit
        return {READ_ONLY_OPTION: True}

    def insert_rows(self, connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert by one execution for each row, which is the fastest here."""
        connection.execute(sa.insert(table), list(rows))

    def select_for_each(
        self, connection: Connection, names: Sequence[str], select: SelectFor, *, skip_locked: bool = False
    ) -> list[Any]:
        """Select by one statement for each name: they cost no round trip."""
        del skip_locked
        return [found for name in names for found in connection.execute(select(sa.literal(name))).scalars()]

    def select_names_without(self, connection: Connection, names: Sequence[str], select: SelectFor) -> list[str]:
        """Select by one statement for each name."""
        return [name for name in names if connection.execute(select(sa.literal(name))).first() is None]

    def match_any_id(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """Compare with a list that is expanded to one parameter for each value."""
        return column.in_(sa.bindparam(parameter, expanding=True))

    def match_any_pattern(self, columns: Sequence[sa.ColumnElement[Any]], count: int) -> list[sa.ColumnElement[bool]]:
        """Compare with each pattern."""
        patterns = [sa.bindparam(f"pattern{number}", type_=sa.Text()) for number in range(count)]
        return [column.ilike(pattern, escape="\\") for column in columns for pattern in patterns]

    def pattern_parameters(self, patterns: Sequence[str]) -> dict[str, Any]:
        """Return one parameter for each pattern."""
        return {f"pattern{number}": pattern for number, pattern in enumerate(patterns)}


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")
    add_sqlite_functions(connection)


def _begin_transaction(connection: Connection) -> None:
    is_read = connection.get_execution_options().get(READ_ONLY_OPTION, False)
    connection.exec_driver_sql("BEGIN" if is_read else "BEGIN IMMEDIATE")
