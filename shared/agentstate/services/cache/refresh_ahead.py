"""Refresh before expiry: readers note entries that are in use and soon expire; workers reload them in the background.

A process also reloads in its own background what it has just served stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from redis import Redis

from agentstate.errors import AgentStateError, InvalidInput
from agentstate.services.cache.entry import CacheKey
from agentstate.services.operations.names import parse_service
from agentstate.store.redis_client import RedisFallback

REFRESHERS = 8
"""Threads that reload entries in the background of one process."""

MOST_NOTED = 10_000
KEPT_S = 600
NAME = "as:{/cache}:ahead"
"""Redis key of the notes. Agent names cannot begin with a slash, so it collides with none."""

_REMEMBERED = 4_096

_NOTE = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], ARGV[3], -1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


class RefreshAhead:
    """The shared list of entries to reload, ordered by expiry.

    Args:
        redis: a synchronous client with timeouts.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._note = redis.register_script(_NOTE)
        self._fallback = RedisFallback()
        self._lock = threading.Lock()
        self._noted: OrderedDict[CacheKey, int] = OrderedDict()

    def note_in_use(self, key: CacheKey, until: int) -> bool:
        """Note that an entry is in use and expires at `until` (microseconds); False when noted before."""
        with self._lock:
            if self._noted.get(key) == until:
                return False
            self._noted[key] = until
            self._noted.move_to_end(key)
            if len(self._noted) > _REMEMBERED:
                self._noted.popitem(last=False)
        member = " ".join((key.agent_id, key.service.value, key.tenant))
        arguments: list[str | int] = [until, member, MOST_NOTED, KEPT_S]
        self._fallback.run_with_fallback(lambda: self._note([NAME], arguments), lambda: None)
        return True

    def take_due(self, limit: int) -> list[CacheKey]:
        """Remove and return the `limit` entries that expire first; none while Redis is unavailable."""
        found: list[tuple[Any, float]] = self._fallback.run_with_fallback(
            lambda: cast("list[tuple[Any, float]]", self._redis.zpopmin(NAME, limit)), list
        )
        keys = []
        for member, _ in found:
            try:
                agent_id, service, tenant = (member.decode() if isinstance(member, bytes) else member).split(" ")
                keys.append(CacheKey(agent_id, parse_service(service), tenant))
            except (ValueError, InvalidInput):
                continue  # a note of another version
        return keys


class BackgroundRefresher:
    """Reloads entries in threads of its own, each entry once at a time.

    Args:
        reload: loads one entry; its errors are left to the next reader, as the backend remembers them.
    """

    def __init__(self, reload: Callable[[CacheKey], object]) -> None:
        self._reload = reload
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: set[CacheKey] = set()
        self._lock = threading.Lock()

    def submit(self, key: CacheKey) -> None:
        """Reload an entry soon, unless that is under way."""
        with self._lock:
            if key in self._under_way:
                return
            self._under_way.add(key)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="refresh")
            self._pool.submit(self._reload_quietly, key)

    def close(self) -> None:
        """Wait for the reloads under way; later submissions start new threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _reload_quietly(self, key: CacheKey) -> None:
        try:
            self._reload(key)
        except AgentStateError:
            return
        finally:
            with self._lock:
                self._under_way.discard(key)
