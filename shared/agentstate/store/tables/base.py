"""Shared parts of all tables: the metadata, the column types, and the database's own clock in SQL.

One schema serves Postgres and SQLite. Times are `timestamptz` on Postgres and text of fixed width on SQLite, which
sorts as it compares; both give aware UTC datetimes in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document: jsonb on Postgres, text on SQLite."""

_SQLITE_FORMAT = "%Y-%m-%d %H:%M:%S.%f"


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC, to the microsecond. A naive datetime is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Timestamptz on Postgres, text elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Python to database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"a naive datetime cannot be stored: {value!r}")
        moment = value.astimezone(UTC)
        return moment.strftime(_SQLITE_FORMAT) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.strptime(value, _SQLITE_FORMAT).replace(tzinfo=UTC)
        moment: datetime = value.astimezone(UTC)
        return moment


class db_time(FunctionElement[datetime]):  # noqa: N801 reads as a function in queries
    """The database's clock now, plus `offset` seconds: `db_time()`, `db_time(30.0)`.

    Leases are measured by one clock, the database's, whatever the clocks of the workers say. The time is that of the
    statement, not of the transaction's begin.
    """

    type = UtcDateTime()
    inherit_cache = True
    name = "db_time"

    def __init__(self, offset: float | sa.ColumnElement[float] = 0.0) -> None:
        given = sa.literal(offset, sa.Float()) if isinstance(offset, int | float) else offset
        super().__init__(given)


class statement_time(db_time):  # noqa: N801 reads as a function in queries
    """`db_time` for conditions: read once for a statement, so that an index serves the comparison."""

    inherit_cache = True
    name = "statement_time"


@compiles(statement_time, "postgresql")
def _postgres_statement_time(element: statement_time, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT {_postgres_time(element, compiler, **options)})"


@compiles(db_time, "postgresql")
def _postgres_time(element: db_time, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(db_time, "sqlite")
@compiles(statement_time, "sqlite")
def _sqlite_time(element: db_time, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {seconds})) || '000')"


def name_column(name: str, **options: Any) -> sa.Column[str]:
    """A column for an agent, session or account name (at most 128 characters, `ids.validate_name`)."""
    return sa.Column(name, sa.String(128), **options)


def time_column(name: str, **options: Any) -> sa.Column[datetime]:
    """A time column."""
    return sa.Column(name, UtcDateTime(), **options)
