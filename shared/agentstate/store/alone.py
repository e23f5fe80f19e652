"""One statement as a transaction of its own, at the least cost there is: one round trip, and nothing around it.

The connection is the pool's, in the driver's autocommit mode for the time of the statement; errors are the ones that
SQLAlchemy would raise, without the values in their text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.exc import DBAPIError


def commit_one(engine: Engine, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run `statement` on Postgres; return its first row, None when it has none or a constraint refused it.

    Raises:
        DBAPIError: anything else went wrong.
    """
    errors: Any = engine.dialect.dbapi
    try:
        taken = engine.raw_connection()
    except errors.Error as error:
        raise _as_usual(errors, statement, error, broken=True) from error
    connection: Any = taken.dbapi_connection
    try:
        return _run(engine.dialect, connection, statement, values)
    except errors.Error as error:
        broken = connection.closed
        taken.invalidate()
        if isinstance(error, errors.IntegrityError):
            return None
        raise _as_usual(errors, statement, error, broken=broken) from error
    except BaseException:
        # The statement may still be on its way.
        taken.invalidate()
        raise
    finally:
        taken.close()


def _run(dialect: Dialect, connection: Any, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        dialect.do_execute(cursor, statement, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
    connection.autocommit = False
    return row


def _as_usual(errors: Any, statement: str, error: Exception, *, broken: bool) -> BaseException:
    return DBAPIError.instance(
        statement, None, error, errors.Error, hide_parameters=True, connection_invalidated=broken
    )
