"""Postgres: its engine, its statements, and the watch over its pooled connections.

It runs at READ COMMITTED, where a claim sees what others have just committed. A server that stops, or ends a session,
says so on the socket; so a connection on which nothing has arrived unasked is taken from the pool as it is. The server
is asked only when something has, or when the connection lay idle for so long that a network between may have forgotten
it. A dead connection is replaced, and so are all that were opened before it.
"""

from __future__ import annotations

import select as system_select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from agentstate.state import codec
from agentstate.store.database import Database, SelectFor

IDLE_S = 30.0
"""Seconds of idleness after which the server is asked whether the connection is alive."""

_RETURNED = "agentstate.returned"


class PostgresDatabase(Database):
    """Postgres, by psycopg."""

    name = "postgresql"
    is_server = True
    has_single_statement_commit = True

    def open_engine(self, url: URL, *, pool_size: int) -> Engine:
        """Open an engine with our time-outs and a check of each connection that leaves the pool."""
        from agentstate.store.postgres_connection import use_server_connections

        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=pool_size,
            json_serializer=codec.dumps,
            json_deserializer=codec.loads,
        )
        use_server_connections(engine)
        watch_pool(engine)
        return engine

    def insert_into(self, table: sa.Table) -> postgresql.Insert:
        """Return Postgres' INSERT."""
        return postgresql.insert(table)

    def read_options(self, connection: Connection, *, autocommit: bool) -> dict[str, Any]:
        """Return AUTOCOMMIT where it is asked for: it saves two round trips. Behind a pooler a time-out needs them."""
        direct = autocommit and not is_pooled(connection)
        return {"isolation_level": "AUTOCOMMIT"} if direct else {}

    def begin_snapshot(self, connection: Connection) -> None:
        """Read in REPEATABLE READ."""
        connection.execution_options(isolation_level="REPEATABLE READ")

    def lock_key(self, connection: Connection, *key: int | sa.ColumnElement[int], shared: bool = False) -> None:
        """Take an advisory lock of the transaction."""
        lock = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        connection.execute(sa.select(lock(*key)))

    def lock_in_order(self, connection: Connection, query: sa.Select[Any]) -> None:
        """Lock by FOR UPDATE, in the order of the query."""
        connection.execute(query.with_for_update()).all()

    def insert_rows(self, connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert by one statement."""
        connection.execute(sa.insert(table).values(list(rows)))

    def select_for_each(
        self, connection: Connection, names: Sequence[str], select: SelectFor, *, skip_locked: bool = False
    ) -> list[Any]:
        """Select by one statement, a lateral join with the list of names."""
        table = _rows_of(names)
        each = select(table.c.name).correlate(table)
        found = (each.with_for_update(skip_locked=True) if skip_locked else each).lateral()
        query = sa.select(found.c[0]).select_from(table.join(found, sa.true()))
        return list(connection.execute(query).scalars())

    def select_names_without(self, connection: Connection, names: Sequence[str], select: SelectFor) -> list[str]:
        """Select by one statement."""
        table = _rows_of(names)
        query = sa.select(table.c.name).where(~select(table.c.name).correlate(table).exists())
        return list(connection.execute(query).scalars())

    # One text of the statement for any number of values: the server keeps its plan.
    def match_any_id(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """Compare with one array."""
        return column == sa.any_(sa.bindparam(parameter, type_=postgresql.ARRAY(sa.Uuid())))

    def match_any_pattern(self, columns: Sequence[sa.ColumnElement[Any]], count: int) -> list[sa.ColumnElement[bool]]:
        """Compare with one array."""
        del count
        patterns = sa.any_(sa.bindparam("patterns", type_=postgresql.ARRAY(sa.Text())))
        return [column.ilike(patterns) for column in columns]

    def pattern_parameters(self, patterns: Sequence[str]) -> dict[str, Any]:
        """Return one array."""
        return {"patterns": list(patterns)}


def is_pooled(connection: Connection) -> bool:
    """Return whether a pooler stands between this process and Postgres, such as pgbouncer in transaction mode."""
    return bool(getattr(connection.connection.dbapi_connection, "is_pooled", False))


def _rows_of(names: Sequence[str]) -> sa.TableValuedAlias:
    array = sa.literal(list(names), postgresql.ARRAY(sa.String()))
    return sa.func.unnest(array).table_valued("name").render_derived()


def commit_one(engine: Engine, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run `statement` as a transaction of its own, in one round trip unless a pooler is between.

    The connection is the pool's, in the driver's autocommit mode for the time of the statement.

    Returns:
        Its first row; None when it has none or a constraint refused it.

    Raises:
        DBAPIError: anything else went wrong, as SQLAlchemy would raise it, without the values in its text.
    """
    errors: Any = engine.dialect.dbapi
    try:
        taken = engine.raw_connection()
    except errors.Error as error:
        raise _wrap_error(errors, statement, error, broken=True) from error
    connection: Any = taken.dbapi_connection
    try:
        connection.autocommit = not connection.is_pooled
        connection.set_session()
        with connection.cursor() as cursor:
            engine.dialect.do_execute(cursor, statement, values)
            row: tuple[Any, ...] | None = cursor.fetchone()
        if connection.is_pooled:
            connection.commit()
        connection.autocommit = False
    except errors.Error as error:
        broken = connection.closed
        taken.invalidate()
        if isinstance(error, errors.IntegrityError):
            return None
        raise _wrap_error(errors, statement, error, broken=broken) from error
    except BaseException:
        # The statement may still be under way.
        taken.invalidate()
        raise
    else:
        return row
    finally:
        taken.close()


def _wrap_error(errors: Any, statement: str, error: Exception, *, broken: bool) -> BaseException:
    return DBAPIError.instance(
        statement, None, error, errors.Error, hide_parameters=True, connection_invalidated=broken
    )


def watch_pool(engine: Engine) -> None:
    """Check each connection of `engine` when it is taken from the pool."""

    def note_return(_connection: Any, record: Any) -> None:
        record.info[_RETURNED] = time.monotonic()

    def check_connection(connection: Any, record: Any, _taker: Any) -> None:
        since = record.info.get(_RETURNED)
        # A new connection has just answered.
        if since is None or (time.monotonic() - since < IDLE_S and not _has_input(connection.fileno())):
            return
        if not engine.dialect._do_ping_w_event(connection):  # noqa: SLF001 what `pool_pre_ping` itself asks by
            raise InvalidatePoolError

    sa.event.listen(engine, "checkin", note_return)
    sa.event.listen(engine, "checkout", check_connection)


def _has_input(descriptor: int) -> bool:
    poller = system_select.poll()
    poller.register(descriptor, system_select.POLLIN | system_select.POLLHUP | system_select.POLLERR)
    return bool(poller.poll(0))
