"""Entries in use that will soon be out of date: noted by readers, taken by workers, who read them ahead of need."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, cast

from redis import Redis

from agentstate.errors import InvalidInput
from agentstate.services.cache.entry import CacheKey
from agentstate.services.operations.names import service_named
from agentstate.store.redis_client import RedisFallback

MOST_NOTED = 10_000
KEPT_S = 600
NAME = "as:{/cache}:ahead"
"""No agent's name begins with a slash, so this key is nobody's."""

_REMEMBERED = 4_096

_NOTE = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], ARGV[3], -1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


class RefreshAhead:
    """The entries to be read anew, the one that ends first coming first.

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
        """Note that an entry is in use and fresh until then (microseconds); False when this process did so before."""
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
        """Take the first entries away, at most `limit`; none while Redis is away."""
        found: list[tuple[Any, float]] = self._fallback.run_with_fallback(lambda: self._popped(limit), list)
        return [key for member, _ in found if (key := _key(member)) is not None]

    def _popped(self, limit: int) -> list[tuple[Any, float]]:
        return cast("list[tuple[Any, float]]", self._redis.zpopmin(NAME, limit))


def _key(member: bytes | str) -> CacheKey | None:
    text = member.decode() if isinstance(member, bytes) else member
    try:
        agent_id, service, tenant = text.split(" ")
        return CacheKey(agent_id, service_named(service), tenant)
    except (ValueError, InvalidInput):
        return None
