"""The composition root: builds each connection and client of one process, once, on first use and after any fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis import Redis

from agentstate.jobs.broker import BrokerWaker
from agentstate.jobs.jobs import Jobs
from agentstate.settings import Settings
from agentstate.store.migrate import require_newest
from agentstate.store.store import Store

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

REDIS_TIMEOUT_S = 5.0


class Runtime:
    """One process's connections. Nothing is opened before it is used; `close()` closes what was opened."""

    def __init__(self, settings: Settings, *, app: Celery | None = None, pool_size: int = 5) -> None:
        self.settings = settings
        self._app = app
        self._pool_size = pool_size
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._pid = os.getpid()
        self.stopping = threading.Event()
        """Set when this process is asked to stop: long work ends at its next step and leaves the rest to others."""

    @classmethod
    def load(cls, **overrides: Any) -> Runtime:
        """A runtime with settings from the environment; raises ConfigurationError."""
        return cls(Settings.load(**overrides))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once per process under `name`."""
        with self._own_lock():
            if name not in self._made:
                self._made[name] = make()
            return cast("T", self._made[name])

    @property
    def store(self) -> Store:
        """The durable store; raises SchemaOutdated when it is not at this version's revision."""
        return self.once("store", self._open_store)

    @property
    def redis(self) -> Redis:
        """Redis for episodes, cache and live updates."""
        return self.once("redis", self._open_redis)

    @property
    def waker(self) -> BrokerWaker:
        """Who sends wake-ups."""
        return self.once("waker", lambda: BrokerWaker(self.settings, self._app))

    @property
    def jobs(self) -> Jobs:
        """The table of jobs."""
        return self.once("jobs", lambda: Jobs(self.store, self.waker, self.settings))

    def close(self) -> None:
        """Close what was opened; the runtime can be used again afterwards."""
        with self._own_lock():
            for made in self._made.values():
                closer = getattr(made, "close", None)
                if callable(closer):
                    closer()
            self._made.clear()

    def _open_store(self) -> Store:
        store = Store.open(self.settings.database_url, pool_size=self._pool_size)
        require_newest(store)
        return store

    def _open_redis(self) -> Redis:
        # No silent retries: redis-py would repeat a command whose answer was lost, an increment included.
        return Redis.from_url(
            self.settings.redis_url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=None,
            health_check_interval=30,
        )

    def _own_lock(self) -> threading.RLock:
        # What was opened before a fork belongs to the parent: its sockets must not be used, nor closed, here.
        if self._pid != os.getpid():
            self._pid, self._made, self._lock = os.getpid(), {}, threading.RLock()
        return self._lock
