"""The shelf in use: Redis for all processes, or this process's own while Redis is away.

An invalidation that Redis missed is owed to it, and paid before this process uses Redis again.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from redis import Redis

from agentstate.errors import InvalidInput
from agentstate.services.cache.backend import CacheBackend, LocalBackend
from agentstate.services.cache.entry import CacheKey, StoredEntry
from agentstate.services.cache.redis_backend import RedisBackend
from agentstate.store.redis_client import RedisFallback

T = TypeVar("T")

MOST_OWED = 10_000


class Shelves:
    """Both shelves.

    Args:
        redis: a synchronous client with timeouts; None leaves the process's own shelf alone.
    """

    def __init__(self, redis: Redis | None) -> None:
        if redis is not None and not isinstance(redis, Redis):
            raise InvalidInput(
                f"a synchronous Redis client is needed, not {type(redis).__name__}; see AsyncStateCache."
            )
        self._local = LocalBackend()
        self._redis = None if redis is None else RedisBackend(redis)
        self._fallback = RedisFallback(present=redis is not None)
        self._owed: set[CacheKey] = set()
        self._owed_lock = threading.Lock()

    @property
    def away(self) -> bool:
        """Whether only this process's shelf is in use now."""
        return self._fallback.is_away

    def use(self, action: Callable[[CacheBackend], T]) -> T:
        """Do something on the shelf in use."""
        redis = self._redis
        if redis is None:
            return action(self._local)
        return self._fallback.run_with_fallback(lambda: self._on_redis(redis, action), lambda: action(self._local))

    def load(self, key: CacheKey) -> StoredEntry | None:
        """The entry, or None."""
        return self.use(lambda shelf: shelf.load_entry(key))

    def forget(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent everywhere, on Redis later if it is away."""
        self._local.drop_entries(keys)
        redis = self._redis
        if redis is not None:
            self._fallback.run_with_fallback(
                lambda: self._on_redis(redis, lambda shelf: shelf.drop_entries(keys)), lambda: self._owe(keys)
            )

    def _on_redis(self, redis: RedisBackend, action: Callable[[CacheBackend], T]) -> T:
        if self._owed:
            self._pay(redis)
        return action(redis)

    def _pay(self, redis: RedisBackend) -> None:
        """Make up for what Redis missed; whoever would use it meanwhile waits."""
        with self._owed_lock:
            by_agent: dict[str, list[CacheKey]] = {}
            for key in self._owed:
                by_agent.setdefault(key.agent_id, []).append(key)
            for keys in by_agent.values():
                redis.drop_entries(keys)
            self._owed.clear()

    def _owe(self, keys: Iterable[CacheKey]) -> None:
        """Note drops for Redis; beyond 10,000 an entry is left to its time to live."""
        with self._owed_lock:
            self._owed.update(itertools.islice(keys, max(MOST_OWED - len(self._owed), 0)))
