"""Classification of database errors: passing, a fault of the data, or anything else.

Decided by SQLSTATE on Postgres and by the error code on SQLite, never by the words of a message.
"""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError

_PASSING_CLASSES = frozenset({"08", "40", "53", "57", "58", "XX"})
"""Connection, rollback (deadlock, serialization), resources, intervention (timeout, shutdown), I/O, internal errors."""

_PASSING_STATES = frozenset({"55P03", "25P03", "25P04", "26000", "42P05"})
"""Lock not available, sessions that the server ended for their time, and statements prepared in another session."""

_DATA_CLASSES = frozenset({"22", "23"})
"""Data exceptions, such as a number out of range, and integrity violations."""

_PASSING_SQLITE = frozenset({5, 6, 9, 10, 13, 14, 15})
"""Busy, locked, interrupted, I/O, full, cannot open, protocol."""


_BUSY_STATES = frozenset({"40001", "40P01", "55P03", "57014", "53300"})
"""Serialization failure, deadlock, lock not available, statement timeout, too many connections."""

_BUSY_SQLITE = frozenset({5, 6})

_READ_ONLY_STATE, _READ_ONLY_SQLITE = "25006", 8


_REFUSED_STATES = frozenset({"42501", "42P01", "42703", "0A000"})
"""A right that the role lacks, a table or column that is not there, and what this server cannot do."""


def read_sqlstate(error: DBAPIError) -> str | None:
    """Return the five characters of SQLSTATE; None when the server sent none, or the store is SQLite."""
    found: str | None = getattr(error.orig, "sqlstate", None)
    return found


def is_passing(error: DBAPIError) -> bool:
    """Return whether the same transaction may well succeed later: the connection, a lock, a timeout, a full disk."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in _PASSING_SQLITE
    state = read_sqlstate(error)
    if state is None:
        # psycopg sets no SQLSTATE when it did not reach the server, or lost it.
        return type(error.orig).__name__ in {"OperationalError", "ConnectionTimeout", "PoolTimeout"}
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def is_busy(error: DBAPIError) -> bool:
    """Return whether a lock, a connection or the statement's time was not available."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return read_sqlstate(error) in _BUSY_STATES or (code is not None and (code & 0xFF) in _BUSY_SQLITE)


def is_read_only(error: DBAPIError) -> bool:
    """Return whether the database takes no writes: a standby, or a file that may not be written."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return read_sqlstate(error) == _READ_ONLY_STATE or (code is not None and (code & 0xFF) == _READ_ONLY_SQLITE)


def is_refused(error: DBAPIError) -> bool:
    """Return whether the server refused the statement for how it is set up: rights, tables, features."""
    return read_sqlstate(error) in _REFUSED_STATES


def is_data_error(error: DBAPIError) -> bool:
    """Return whether the database refused the data itself, so that the same data will always be refused."""
    if isinstance(error, DataError | IntegrityError):
        return True
    return (read_sqlstate(error) or "")[:2] in _DATA_CLASSES
