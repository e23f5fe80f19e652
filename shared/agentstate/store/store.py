"""The durable store: the one place where accepted facts live, and its transactions.

Whatever belongs together is written in one `Transaction`; what must only happen once it is committed (waking a worker,
publishing an update) is handed to `after_commit`, and is never needed for correctness.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agentstate.errors import AgentStateError, InvalidInput, StoreBusy, StoreReadOnly, StoreUnavailable
from agentstate.store import sqlstate
from agentstate.store.database import Database
from agentstate.store.engine import database_of, open_engine
from agentstate.store.postgres import commit_one
from agentstate.store.tables.base import db_time

_log = logging.getLogger(__name__)


class Transaction:
    """One open transaction: `connection` executes, `after_commit` collects the follow-ups.

    Made by `Store.transaction()`. Every verb of the library that writes takes one as `tx=`, so that several facts
    become durable together or not at all.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self._followers: list[Callable[[], None]] = []

    @property
    def database(self) -> Database:
        """The kind of database, Postgres or SQLite."""
        return database_of(self.connection)

    def now(self) -> datetime:
        """The database's clock, read now."""
        moment: datetime = self.connection.execute(sa.select(db_time())).scalar_one()
        return moment

    def after_commit(self, follower: Callable[[], None]) -> None:
        """Call `follower` once, after the commit. When it fails, that is logged and a sweep does its work later."""
        self._followers.append(follower)

    def _run_followers(self) -> None:
        for follower in self._followers:
            try:
                follower()
            except Exception:  # noqa: BLE001 the facts are durable; a wake-up that fails is only a delay
                _log.warning("a follow-up of a committed transaction failed; the sweep will catch up", exc_info=True)


_ambient: ContextVar[tuple[Store, Transaction] | None] = ContextVar("agentstate_transaction", default=None)
"""The transaction that verbs without a `tx` of their own join; see `Store.ambient_transaction`."""


class Store:
    """The durable store, on Postgres or SQLite. Opened per process; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.database = database_of(engine)
        """The kind of database, Postgres or SQLite."""
        self._pid = os.getpid()

    @classmethod
    def open(cls, database_url: str, *, pool_size: int = 5) -> Store:
        """A store for `database_url`; connects on first use. Raises ConfigurationError for a wrong URL."""
        return cls(open_engine(database_url, pool_size=pool_size))

    @contextmanager
    def transaction(self, tx: Transaction | None = None) -> Iterator[Transaction]:
        """A write transaction: commits at the end of the block, rolls back when it raises.

        Given `tx`, or inside `ambient_transaction`, joins that one and leaves the commit to its owner.

        Raises:
            StoreUnavailable: no connection, or it broke before the commit was acknowledged.
        """
        joined = tx or self.current_transaction()
        if joined is not None:
            yield joined
            return
        with self._translate_errors(), self._engine_after_fork().begin() as connection:
            opened = Transaction(connection)
            try:
                yield opened
            finally:
                opened.is_open = False
        opened._run_followers()  # noqa: SLF001 the store is the transaction's owner

    @contextmanager
    def ambient_transaction(self) -> Iterator[Transaction]:
        """A write transaction that every `transaction()` opened inside the block, in this thread or task, joins.

        Reads inside the block see what is committed, not what the block has written so far.

        Raises:
            StoreUnavailable: as `transaction`.
        """
        with self.transaction() as tx, self.join_transaction(tx):
            yield tx

    @contextmanager
    def join_transaction(self, tx: Transaction) -> Iterator[None]:
        """Make `tx` the ambient transaction of this thread or task for the block."""
        token = _ambient.set((self, tx))
        try:
            yield
        finally:
            _ambient.reset(token)

    def current_transaction(self) -> Transaction | None:
        """The open ambient transaction of this thread or task; None outside of one."""
        ambient = _ambient.get()
        # A task that was started inside the block inherits the variable and may outlive the transaction.
        return ambient[1] if ambient is not None and ambient[0] is self and ambient[1].is_open else None

    def refuse_ambient(self, verb: str) -> None:
        """Raise InvalidInput inside an ambient transaction: `verb` has to commit before it acts."""
        if self.current_transaction() is not None:
            raise InvalidInput(
                f"{verb} was called inside agent.transaction(): it has to commit its intent before it acts. Call it "
                "outside the block. Nothing was done."
            )

    def commit_one(self, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Run one Postgres statement as a transaction of its own, and return its first row.

        For what is done so often that its round trips count: there is one, where `transaction` takes three. None when
        there is no row, and when a constraint refused the statement: then nothing was written, and the same in a
        `transaction` tells why.

        Args:
            statement: in the driver's own form, values as `%(name)s`.
            values: by name.

        Raises:
            StoreUnavailable: no connection, or it broke before the commit was acknowledged.
        """
        if self.current_transaction() is not None:
            return None
        with self._translate_errors():
            return commit_one(self._engine_after_fork(), statement, values)

    @contextmanager
    def read_connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection for reads alone; on SQLite it does not take the write lock.

        Args:
            autocommit: each statement is a transaction of its own, which on Postgres saves two round trips.
        """
        with self._translate_errors(), self._engine_after_fork().connect() as connection:
            connection.execution_options(**self.database.read_options(connection, autocommit=autocommit))
            yield connection
            # The pool would end with a rollback, after which the driver forgets every statement that it has prepared.
            connection.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _engine_after_fork(self) -> Engine:
        # A connection must never be shared across a fork: both sides would speak on one socket.
        if os.getpid() != self._pid:
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        return self.engine

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            waited_s = float(getattr(self.engine.pool, "_timeout", 0.0))
            raise StoreBusy(
                f"all connections of this process to the durable store were in use for {waited_s:g} s. "
                "Nothing of this transaction is kept; try again, or open the store with a larger pool."
            ) from error
        except DBAPIError as error:
            if _was_interrupted(error):
                raise KeyboardInterrupt from error
            found = _translate_error(error)
            if found is None:
                raise
            raise found from error


def _translate_error(error: DBAPIError) -> AgentStateError | None:
    """Return our error for one of the driver's; None when it is neither passing nor a fault of the data."""
    reason = str(error.orig).strip().splitlines()[0][:200]
    if sqlstate.is_busy(error):
        return StoreBusy(
            f"others hold what this transaction needs in the store ({reason}). Nothing of it is kept; try again."
        )
    if sqlstate.is_read_only(error):
        return StoreReadOnly(
            f"the durable store takes no writes ({reason}). Nothing of this transaction is kept; name the primary "
            "server in AGENTSTATE_DATABASE_URL, or try again when the change of primary is over."
        )
    if sqlstate.is_passing(error):
        return StoreUnavailable(
            f"the durable store does not answer ({reason}). Nothing of this transaction is kept unless it was "
            "committed; start the store and try again."
        )
    if sqlstate.is_refused(error):
        return StoreUnavailable(
            f"the durable store refused a statement ({reason}). Nothing of this transaction is kept; "
            "`agentstate doctor` checks the schema and the rights of the role."
        )
    if isinstance(error, DataError):
        return InvalidInput(f"the durable store cannot hold a value of this call ({reason}). Nothing was stored.")
    return None


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether the driver's error was caused by a KeyboardInterrupt, which is raised instead."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
