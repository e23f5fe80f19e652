"""Redis: the fallback while it is away, its errors as ours, and single commands without the client's overhead.

Redis is away when it does not answer, and as well when it refuses: its disk or memory is full, it is a replica, is
loading, lacks a right, or is a cluster. Then work goes on in this process alone, and Redis is tried again after a
second. `run_command` leaves out the client's retries and metrics, which cost a sixth of a short command's time: for
paths that are measured in tens of microseconds; everything else uses the client as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis, RedisError
from redis.commands.core import Script
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from agentstate.errors import RedisUnavailable

T = TypeVar("T")

RETRY_AFTER_S = 1.0
"""After Redis failed it is left alone for a second, so that a long timeout is not paid at every step."""


class RedisFallback:
    """Uses Redis while it answers.

    Args:
        present: False when there is no Redis at all.
    """

    def __init__(self, *, present: bool = True) -> None:
        self._rests_until = 0.0 if present else float("inf")

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer a moment ago, or there is none."""
        return time.monotonic() < self._rests_until

    def run_with_fallback(self, shared: Callable[[], T], local: Callable[[], T]) -> T:
        """Return the result of `shared`, or that of `local` while Redis is away."""
        if not self.is_away:
            try:
                return shared()
            except (RedisError, RedisUnavailable):
                self._rests_until = time.monotonic() + RETRY_AFTER_S
        return local()


_CLUSTER = "this is a Redis Cluster, which cannot be used: name a single server"
_REMEDIES: tuple[tuple[type[RedisError], str, str], ...] = (
    (NoPermissionError, "", "give this user of Redis the right to the command"),
    (AuthenticationError, "", "correct the user and the password in the URL"),
    (OutOfMemoryError, "", "raise its maxmemory or free some"),
    (ReadOnlyError, "", "name the primary server, this is a replica"),
    (ClusterDownError, "", _CLUSTER),
    (AskError, "", _CLUSTER),
    (ResponseError, "MOVED", _CLUSTER),
    (ResponseError, "MISCONF", "it cannot write to its disk: free some space there"),
)
"""Class of the error, beginning of its text, and what to do."""


def redis_unavailable(error: RedisError, kept: str) -> RedisUnavailable:
    """Return our error for one of the client's; `kept` says what is not affected."""
    told = " ".join(str(error).split())[:300]
    found = [todo for kind, begins, todo in _REMEDIES if isinstance(error, kind) and told.startswith(begins)]
    does = "refuses" if isinstance(error, ResponseError | NoPermissionError) else "does not answer"
    return RedisUnavailable("; ".join([f"Redis {does} ({told or type(error).__name__})", *found[:1], kept]))


def run_command(client: Redis, *parts: str | bytes | float) -> Any:
    """The answer to one command, as the server gave it; raises RedisError."""
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*parts)  # type: ignore[no-untyped-call]
        return connection.read_response()
    except NoScriptError:
        raise
    except BaseException:
        # An answer may still be under way, and must not be taken for another's.
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.release(connection)


def run_script(client: Redis, made: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
    """The answer of a registered script."""
    try:
        return run_command(client, "EVALSHA", made.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        return made(keys, arguments, client=client)
