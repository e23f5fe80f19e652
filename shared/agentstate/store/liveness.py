"""Whether a pooled connection is still alive, without asking the server each time.

A server that stops, or ends a session, says so on the socket; so a connection on which nothing has arrived unasked is
taken as it is. The server is asked only when something has, or when the connection lay idle for so long that a network
between may have forgotten it. A connection that is dead is replaced, and so are all that were opened before.
"""

from __future__ import annotations

import select
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import InvalidatePoolError

IDLE_S = 30.0
"""Seconds of idleness after which the server is asked all the same."""

_RETURNED = "agentstate.returned"


def watch_pool(engine: Engine) -> None:
    """Look at each connection of `engine` (psycopg) when it is taken from the pool."""

    def returned(_connection: Any, record: Any) -> None:
        record.info[_RETURNED] = time.monotonic()

    def taken(connection: Any, record: Any, _taker: Any) -> None:
        since = record.info.get(_RETURNED)
        # A new connection has just answered.
        if since is None or (time.monotonic() - since < IDLE_S and not _has_input(connection.fileno())):
            return
        if not engine.dialect._do_ping_w_event(connection):  # noqa: SLF001 what `pool_pre_ping` itself asks by
            raise InvalidatePoolError

    sa.event.listen(engine, "checkin", returned)
    sa.event.listen(engine, "checkout", taken)


def _has_input(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(0))
