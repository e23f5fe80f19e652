"""Where cache entries lie: in Redis for all processes, and in this process while Redis is away.

Two rules keep a slow reader from undoing what came after it. A write is refused when the entry was invalidated since
the reader began (the epoch has moved), and an older reading never replaces a newer one.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Any, Protocol, TypeAlias, cast

from redis import Redis, RedisError

from agentstate.errors import RedisUnavailable
from agentstate.services.entries import Stored
from agentstate.services.names import Service

Key: TypeAlias = tuple[str, Service]
"""Agent and service."""

EPOCH_KEPT_MS = 86_400_000
"""An epoch counts invalidations for readers in flight, which end within seconds; a day is ample."""

LOCAL_ENTRIES = 1_024

_STORE = """
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
local now = redis.call('GET', KEYS[1])
if now and tonumber(string.match(now, '^%d+')) > tonumber(string.match(ARGV[2], '^%d+')) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Shelf(Protocol):
    """Keeps entries. Raises RedisUnavailable when it cannot be reached."""

    def load(self, key: Key) -> Stored | None:
        """The entry, or None."""

    def epoch(self, key: Key) -> str:
        """A mark that changes with every invalidation."""

    def store(self, key: Key, stored: Stored, epoch: str, keep_s: float) -> bool:
        """Keep an entry for `keep_s` seconds unless it was outdated meanwhile; whether it was kept."""

    def forget(self, keys: list[Key]) -> None:
        """Drop entries, and let no reader that has begun put one back."""

    def lock(self, key: Key, hold_s: float) -> str | None:
        """Take the right to ask the service for at most `hold_s` seconds; a token, or None when another has it."""

    def unlock(self, key: Key, token: str) -> None:
        """Give the right back, if it is still ours."""


class RedisShelf:
    """Entries in Redis, under `as:{<agent>}:state:<service>`.

    Args:
        client: a synchronous client; its timeouts bound every call.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    def load(self, key: Key) -> Stored | None:
        """The entry, or None."""
        text = _text(self._run("GET", _name(key)))
        return None if text is None else Stored.from_text(text)

    def epoch(self, key: Key) -> str:
        """A mark that changes with every invalidation."""
        return _text(self._run("GET", _epoch(key))) or "0"

    def store(self, key: Key, stored: Stored, epoch: str, keep_s: float) -> bool:
        """Keep an entry unless it was outdated meanwhile."""
        names = (_name(key), _epoch(key))
        return bool(self._run("EVAL", _STORE, 2, *names, epoch, stored.to_text(), int(keep_s * 1_000)))

    def forget(self, keys: list[Key]) -> None:
        """Drop entries of one agent in one step."""
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for key in keys:
                    pipe.incr(_epoch(key))
                    pipe.pexpire(_epoch(key), EPOCH_KEPT_MS)
                    pipe.delete(_name(key))
                pipe.execute()
        except RedisError as error:
            raise _away(error) from error

    def lock(self, key: Key, hold_s: float) -> str | None:
        """Take the right to ask the service."""
        token = secrets.token_hex(16)
        taken = self._run("SET", f"{_name(key)}:lock", token, "NX", "PX", int(hold_s * 1_000))
        return token if taken else None

    def unlock(self, key: Key, token: str) -> None:
        """Give the right back, if it is still ours."""
        self._run("EVAL", _UNLOCK, 1, f"{_name(key)}:lock", token)

    def _run(self, *command: str | int) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise _away(error) from error


class LocalShelf:
    """Entries in this process, at most 1,024, the longest unused leaving first."""

    def __init__(self, size: int = LOCAL_ENTRIES) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, str] = OrderedDict()
        self._epoch = 0

    def load(self, key: Key) -> Stored | None:
        """The entry, or None; a copy, so that no reader changes another's."""
        with self._lock:
            text = self._entries.get(key)
            if text is None:
                return None
            self._entries.move_to_end(key)
        return Stored.from_text(text)

    def epoch(self, key: Key) -> str:
        """One mark for all entries."""
        del key
        return self._mark()

    def store(self, key: Key, stored: Stored, epoch: str, keep_s: float) -> bool:
        """Keep an entry; readers judge its age, so nothing leaves by time."""
        del keep_s
        text = stored.to_text()
        with self._lock:
            if epoch != self._mark():
                return False
            self._entries[key] = text
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
            return True

    def forget(self, keys: list[Key]) -> None:
        """Drop entries."""
        with self._lock:
            self._epoch += 1
            for key in keys:
                self._entries.pop(key, None)

    def lock(self, key: Key, hold_s: float) -> str | None:
        """Always granted: within one process the flights keep the order."""
        del key, hold_s
        return ""

    def unlock(self, key: Key, token: str) -> None:
        """Nothing to give back."""

    def _mark(self) -> str:
        """Never equal to a mark of Redis, in case Redis went away between a reader's steps."""
        return f"local-{self._epoch}"


def _name(key: Key) -> str:
    agent_id, service = key
    return f"as:{{{agent_id}}}:state:{service.value}"


def _epoch(key: Key) -> str:
    return f"{_name(key)}:epoch"


def _text(value: object) -> str | None:
    return value.decode() if isinstance(value, bytes) else cast("str | None", value)


def _away(error: RedisError) -> RedisUnavailable:
    return RedisUnavailable(f"Redis does not answer ({type(error).__name__}); states are read from the services.")
