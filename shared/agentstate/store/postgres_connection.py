"""Connections to Postgres: a deadline for every answer, and what is different behind a pooler.

A pooler in transaction mode (pgbouncer, Supabase, Neon, PgCat) gives each transaction another session: settings of a
session and statements prepared in it are not there in the next. It is known by the process number, which it makes up
for its clients, or by its refusal of start-up options; `?prepare_threshold=none` in the URL says so for one that can be
told by neither. Behind one nothing is prepared, and each transaction sets its time-out and time zone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import Engine

from agentstate.errors import ConfigurationError

STATEMENT_TIMEOUT_S = 30
ANSWER_WITHIN_S = 40.0
"""Deadline on our side for one answer; above the server's own, which gives the better error."""

_SESSION_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC"
_SET_LOCAL = f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'; SET LOCAL timezone = 'UTC'"
_DEFAULTS = {
    "connect_timeout": 5,
    # A peer that is gone is found by the kernel too; seconds, and milliseconds for the last.
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_UNPREPARED = {"none", "0", "off"}


class ServerConnection(psycopg.Connection[Any]):
    """A connection that gives up an answer after `ANSWER_WITHIN_S` seconds, and knows whether a pooler is between."""

    is_pooled = False

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Return what the server answers; close the connection when it does not in time."""
        within_s, began = timeout or ANSWER_WITHIN_S, time.monotonic()
        try:
            return super().wait(gen, interval, within_s)
        except psycopg.OperationalError:
            # What comes as late as this is the deadline; a transaction under way must not be used any more.
            if timeout is None and time.monotonic() - began >= within_s:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {within_s:g} s") from None
            raise

    def set_session(self) -> None:
        """Set the time-out and the time zone of a transaction behind a pooler; elsewhere the session has them."""
        if self.is_pooled and not self.autocommit:
            self.execute(_SET_LOCAL)


def use_server_connections(engine: Engine) -> None:
    """Let `engine` connect and begin transactions as described above.

    Raises:
        ConfigurationError: the URL has an option that Postgres' client does not know.
    """
    _, parameters = engine.dialect.create_connect_args(engine.url)
    known = {name: value for name, value in parameters.items() if name not in {"context", "prepare_threshold"}}
    try:
        make_conninfo(**known)
        _parse_threshold(parameters)
    except (psycopg.ProgrammingError, ValueError) as error:
        raise ConfigurationError(
            f"AGENTSTATE_DATABASE_URL has an option that cannot be used ({str(error).strip()}). Correct or remove it; "
            "nothing was started."
        ) from None

    def connect(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> ServerConnection:
        return connect_server(parameters)

    def begin(taken: Any) -> None:
        taken.dbapi_connection.set_session()

    sa.event.listen(engine, "do_connect", connect)
    # In place of an event, which would cost each statement a look.
    dialect: Any = engine.dialect
    dialect.do_begin = begin


def connect_server(parameters: dict[str, Any]) -> ServerConnection:
    """Return a connection with our time-outs, outside a transaction."""
    given = {**_DEFAULTS, **parameters}
    threshold = _parse_threshold(given)
    given.pop("prepare_threshold", None)
    options = f"{given.pop('options', '')} {_SESSION_OPTIONS}".strip()
    try:
        connection = ServerConnection.connect(**given, options=options, autocommit=True)
    except psycopg.OperationalError as error:
        # A pooler refuses what it cannot keep for a client; there is no SQLSTATE before a session.
        if "startup parameter" not in str(error):
            raise
        connection = ServerConnection.connect(**given, autocommit=True)
        connection.is_pooled = True
    if not connection.is_pooled:
        [(number,)] = connection.execute("SELECT pg_backend_pid()")
        connection.is_pooled = threshold is None or number != connection.info.backend_pid
    connection.prepare_threshold = None if connection.is_pooled else threshold
    connection.autocommit = False
    return connection


def _parse_threshold(parameters: Mapping[str, Any]) -> int | None:
    """Return after how many executions a statement is prepared on the server; None: never."""
    given = str(parameters.get("prepare_threshold", 5)).lower()
    return None if given in _UNPREPARED else int(given)
