"""The differences between the databases as one interface, implemented by `PostgresDatabase` and `SqliteDatabase`.

No other module of the package looks at the name of a dialect. A caller asks for what it needs (`lock_key`,
`select_for_each`) or for an ability (`has_roles`), and gets it from `store.database` or `tx.database`, or by
`agentstate.store.engine.database_of(connection)` where there is a connection alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

SelectFor: TypeAlias = Callable[[sa.ColumnElement[str]], sa.Select[Any]]
"""Makes the query for one name of several, which is given as an expression."""


class Database(ABC):
    """One kind of database."""

    name: ClassVar[str]
    """Name of SQLAlchemy's dialect: `postgresql` or `sqlite`."""
    is_server: ClassVar[bool]
    """True where processes on several machines share it: it has roles, partitions, advisory locks, and several writers
    at once. False where the one writer has the whole database."""
    has_single_statement_commit: ClassVar[bool]
    """True where `Store.commit_one` works: several changes in one statement that commits in its only round trip."""

    @abstractmethod
    def open_engine(self, url: URL, *, pool_size: int) -> Engine:
        """Return an engine for `url` that connects on first use."""

    @abstractmethod
    def insert_into(self, table: sa.Table) -> Any:
        """Return an INSERT that understands `on_conflict_do_nothing` and `on_conflict_do_update`."""

    @lru_cache(maxsize=200)  # noqa: B019 there are two instances in a process
    def insert_ignoring_conflicts(self, table: sa.Table) -> Any:
        """Return an INSERT that skips rows which meet a unique rule, and gives the primary keys of the others."""
        return self.insert_into(table).on_conflict_do_nothing().returning(*table.primary_key)

    def read_options(self, connection: Connection, *, autocommit: bool) -> dict[str, Any]:
        """Return execution options of a connection for reads; see `Store.read_connection`."""
        del connection, autocommit
        return {}

    def begin_snapshot(self, connection: Connection) -> None:
        """Let all reads of `connection` see one moment; call it before the first."""
        del connection  # where a read transaction is one anyway

    def lock_key(self, connection: Connection, *key: int | sa.ColumnElement[int], shared: bool = False) -> None:
        """Hold a lock of that name, one 64-bit or two 32-bit numbers, until the transaction ends.

        Nothing is to be done where a transaction that writes is alone anyway.
        """
        del connection, key, shared

    def lock_in_order(self, connection: Connection, query: sa.Select[Any]) -> None:
        """Lock the rows of an ordered query, so that two transactions never wait for each other in a circle."""
        del connection, query

    @abstractmethod
    def insert_rows(self, connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert `rows` so that triggers of the statement see all of them."""

    @abstractmethod
    def select_for_each(
        self, connection: Connection, names: Sequence[str], select: SelectFor, *, skip_locked: bool = False
    ) -> list[Any]:
        """Return the first column of `select(name)` for each of `names`.

        Args:
            connection: for the query.
            names: such as ids of agents.
            select: makes the query for one of them.
            skip_locked: lock the rows, and leave out those that others have locked.
        """

    @abstractmethod
    def select_names_without(self, connection: Connection, names: Sequence[str], select: SelectFor) -> list[str]:
        """Return those of `names` for which `select(name)` has no row."""

    @abstractmethod
    def match_any_id(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """Return the condition that `column` is one of the list given as `parameter`."""

    @abstractmethod
    def match_any_pattern(self, columns: Sequence[sa.ColumnElement[Any]], count: int) -> list[sa.ColumnElement[bool]]:
        """Return conditions, one of which must hold, that a column is like one of `count` patterns, case ignored."""

    @abstractmethod
    def pattern_parameters(self, patterns: Sequence[str]) -> dict[str, Any]:
        """Return the parameters for `match_any_pattern`; patterns escape by a backslash."""
