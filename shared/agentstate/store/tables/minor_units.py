"""Amounts in the database: whole minor units of up to 38 digits, with exact sums on both databases.

64 bits hold 9 ETH in wei, so Postgres stores NUMERIC(38, 0). SQLite has 64-bit integers and floats only: a longer
amount is text there, and `minor_sum` and its neighbours, which SQLite calls back into Python for, compute exactly.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine, UserDefinedType

DIGITS = 38
_SQLITE_MAX = 2**63 - 1


class _Blob(UserDefinedType[Any]):
    """A SQLite column without affinity, which keeps integers and text as they come."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """Return the type without affinity."""
        return "BLOB"


class MinorUnits(sa.types.TypeDecorator[int]):
    """A whole number of minor units, up to 38 digits."""

    impl = sa.Numeric(DIGITS, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC on Postgres, no affinity on SQLite."""
        return dialect.type_descriptor(_Blob() if dialect.name == "sqlite" else sa.Numeric(DIGITS, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Python to database."""
        return _to_sqlite(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Database to Python."""
        return None if value is None else int(value)


class minor_sum(FunctionElement[int]):  # noqa: N801 reads as a function in queries
    """The exact sum of amounts; NULL of none."""

    type = MinorUnits()
    inherit_cache = True
    name = "minor_sum"


class minor_negation(minor_sum):  # noqa: N801 reads as a function in queries
    """An amount with the other sign."""

    inherit_cache = True
    name = "minor_negation"


class minor_size(minor_sum):  # noqa: N801 reads as a function in queries
    """An amount without its sign."""

    inherit_cache = True
    name = "minor_size"


class minor_max(minor_sum):  # noqa: N801 reads as a function in queries
    """The larger of two amounts."""

    inherit_cache = True
    name = "minor_max"


_ON_POSTGRES = {"minor_sum": "sum", "minor_negation": "-", "minor_size": "abs", "minor_max": "greatest"}


@compiles(minor_sum)
def _compile_function(element: minor_sum, compiler: SQLCompiler, **options: Any) -> str:
    name = _ON_POSTGRES[element.name] if compiler.dialect.name == "postgresql" else element.name
    return f"{name}({compiler.process(element.clauses, **options)})"


def add_sqlite_functions(connection: sqlite3.Connection) -> None:
    """Make the functions of amounts known to a connection of SQLite."""
    connection.create_aggregate("minor_sum", 1, _ExactSum)  # type: ignore[arg-type]  # gives text beyond 64 bits
    connection.create_function("minor_negation", 1, lambda value: _to_sqlite(value and -int(value)))
    connection.create_function("minor_size", 1, lambda value: _to_sqlite(value and abs(int(value))))
    connection.create_function("minor_max", 2, lambda one, other: _to_sqlite(max(int(one), int(other))))


class _ExactSum:
    """The aggregate `minor_sum` of SQLite."""

    def __init__(self) -> None:
        self._sum: int | None = None

    def step(self, value: int | str | None) -> None:
        """Add an amount."""
        if value is not None:
            self._sum = (self._sum or 0) + int(value)

    def finalize(self) -> int | str | None:
        """Return the sum as SQLite keeps it."""
        return _to_sqlite(self._sum)


def _to_sqlite(value: int | None) -> int | str | None:
    return value if value is None or abs(value) <= _SQLITE_MAX else str(value)
