"""The state cache for asyncio agents: the same verbs, awaited; the event loop never waits for Redis or a service.

The work is done by threads of its own, so that a slow service holds up neither the loop nor other users of its
default threads. A cancelled reader returns at once; its load still reaches the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from agentstate.services.cache.entry import CacheEntry
from agentstate.services.cache.portfolio import Portfolio
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.wire import Body

T = TypeVar("T")

THREADS = 32


class AsyncStateCache:
    """The awaitable `StateCache`: the same verbs with the same results and errors.

    Args:
        cache: the cache that does the work; it may be used beside this.
        threads: how many readers are served at one moment; the others wait their turn.
    """

    def __init__(self, cache: StateCache, *, threads: int = THREADS) -> None:
        self._cache = cache
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="async-cache")

    async def get(
        self,
        agent_id: str,
        service: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  the guide's shape
        *,
        stale_for_s: float = 0.0,
    ) -> CacheEntry:
        """Return the agent's state at a service."""
        return await self._run_in_thread(
            partial(self._cache.get, agent_id, service, force_refresh, stale_for_s=stale_for_s)
        )

    async def peek(self, agent_id: str, service: str) -> CacheEntry:
        """Return the cached state without asking the service."""
        return await self._run_in_thread(partial(self._cache.peek, agent_id, service))

    async def invalidate(self, agent_id: str, service: str, *, others: Iterable[str] = ()) -> None:
        """Drop the entries that an operation at `service` made out of date."""
        await self._run_in_thread(partial(self._cache.invalidate, agent_id, service, others=list(others)))

    async def write_through(
        self, agent_id: str, service: str, state: Body, *, as_of: datetime | None = None
    ) -> CacheEntry:
        """Store a state that the service returned after a confirmed operation."""
        return await self._run_in_thread(partial(self._cache.write_through, agent_id, service, state, as_of=as_of))

    async def refresh(self, agent_id: str, service: str) -> CacheEntry:
        """Ask the service and store the answer."""
        return await self._run_in_thread(partial(self._cache.refresh, agent_id, service))

    async def portfolio_snapshot(
        self,
        agent_id: str,
        force_refresh: bool = False,  # noqa: FBT001, FBT002  as get
        *,
        in_flight: Callable[[], Mapping[str, int]] = dict,
    ) -> Portfolio:
        """Return all six states, read in parallel; `in_flight` is called in a thread."""
        return await self._run_in_thread(
            partial(self._cache.portfolio_snapshot, agent_id, force_refresh, in_flight=in_flight)
        )

    def close(self) -> None:
        """Wait for the running calls and end the threads; the cache itself stays open."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _run_in_thread(self, action: Callable[[], T]) -> T:
        loop: Any = asyncio.get_running_loop()
        result: T = await loop.run_in_executor(self._pool, action)
        return result
