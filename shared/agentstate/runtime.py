"""The composition root: builds each connection and client of one process, once, on first use and after any fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentstate.errors import AgentStateError, ConfigurationError
from agentstate.first_use import load_parts, part
from agentstate.settings import Settings

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from redis import Redis

    from agentstate.jobs.broker import BrokerWakeUpSender
    from agentstate.jobs.jobs import Jobs
    from agentstate.jobs.leases import LeaseRenewer
    from agentstate.memory.embedding.worker import EmbeddingPipeline
    from agentstate.memory.episodes.archive import EpisodeArchive
    from agentstate.memory.episodes.lesson_jobs import LessonJobs
    from agentstate.memory.episodes.recent import RecentEpisodes
    from agentstate.memory.episodes.store import EpisodicStore
    from agentstate.memory.facts.service import MemoryService
    from agentstate.memory.index.qdrant_index import MemoryIndex
    from agentstate.money.effects.engine import Effects
    from agentstate.money.effects.operation import AgentService, OperationRegistry
    from agentstate.money.reconciliation.enrolment import ServiceAccounts
    from agentstate.money.reconciliation.portfolio_snapshots import SnapshotTaker
    from agentstate.money.reconciliation.reconciler import Reconciler
    from agentstate.providers.embedding.embedder import Embedder
    from agentstate.providers.summaries.summarizer import Summarizer
    from agentstate.services.cache.state_cache import StateCache
    from agentstate.services.http.dialect import Dialect
    from agentstate.services.http.gateway import Gateway
    from agentstate.services.http.traffic import SharedTraffic
    from agentstate.store.counters import Counters
    from agentstate.store.store import Store

T = TypeVar("T")

REDIS_TIMEOUT_S = 5.0
REDIS_CONNECTIONS = 32
# No silent retries: redis-py would repeat a command whose answer was lost, an increment included.
_REDIS: dict[str, Any] = {
    "socket_timeout": REDIS_TIMEOUT_S,
    "socket_connect_timeout": REDIS_TIMEOUT_S,
    "retry": None,
    "health_check_interval": 30,
}


class Runtime:
    """The connections and engines of one process: each opened on first use, all closed by `close()`."""

    def __init__(self, settings: Settings, *, pool_size: int = 5) -> None:
        self.settings = settings
        self._pool_size = pool_size
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._pid = os.getpid()
        load_parts()
        if settings.services_modules:
            from agentstate.services.operations.registry import load_service_modules

            load_service_modules(settings.services_modules)
        self.stopping = threading.Event()
        """Set when this process is asked to stop: long work ends at its next step and leaves the rest to others."""

    @classmethod
    def load(cls, **overrides: Any) -> Runtime:
        """A runtime with settings from the environment; raises ConfigurationError."""
        return cls(Settings.load(**overrides))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return the object that `make` builds, built once per process under `name`."""
        with self._own_lock():
            if name not in self._made:
                self._made[name] = make()
            return cast("T", self._made[name])

    @part
    def store(self) -> Store:
        """The durable store; raises SchemaOutdated when it is not at this version's revision."""

        def open_store() -> Store:
            from agentstate.money.amounts import register_currency
            from agentstate.store.migrate import require_newest
            from agentstate.store.store import Store

            for code, scale in self.settings.currencies.items():
                register_currency(code, scale)
            store = Store.open(self.settings.database_url, pool_size=self._pool_size)
            try:
                require_newest(store)
            except AgentStateError:
                store.close()
                raise
            return store

        return self.once("store", open_store)

    @part
    def counters(self) -> Counters:
        """The counters of this process for the metrics, written to the store in batches."""
        from agentstate.store.counters import Counters

        return self.once("counters", lambda: Counters(lambda: self.store))

    @part
    def redis(self) -> Redis:
        """Redis for recent episodes and cached states."""
        from redis import BlockingConnectionPool, Redis

        # With all connections busy, threads wait for one; unlimited new ones would be refused by the server.
        limits: dict[str, Any] = {"max_connections": REDIS_CONNECTIONS, "timeout": REDIS_TIMEOUT_S}
        return self.once(
            "redis",
            lambda: Redis.from_pool(BlockingConnectionPool.from_url(self.settings.redis_url, **limits, **_REDIS)),
        )

    @part
    def waiting_redis(self) -> Redis:
        """Redis for blocking reads of live updates: each holds its connection, so they have no share in the pool."""
        from redis import Redis

        return self.once("waiting_redis", lambda: Redis.from_url(self.settings.redis_url, **_REDIS))

    @part
    def wake_ups(self) -> BrokerWakeUpSender:
        """Sender of wake-ups to the broker."""
        from agentstate.jobs.broker import BrokerWakeUpSender

        return self.once("waker", lambda: BrokerWakeUpSender(self.settings))

    @part
    def jobs(self) -> Jobs:
        """The table of jobs."""
        from agentstate.jobs.jobs import Jobs

        return self.once("jobs", lambda: Jobs(self.store, self.wake_ups, self.settings))

    @part
    def leases(self) -> LeaseRenewer:
        """Renewer of the leases of the jobs that this process runs."""
        from agentstate.jobs.leases import LeaseRenewer

        return self.once("leases", lambda: LeaseRenewer(self.store))

    @property
    def embedder(self) -> Embedder:
        """The embedder that the settings name; raises ConfigurationError when it cannot be used."""
        return self.once("embedder", lambda: self.embedder_by(self.settings))

    def embedder_by(self, settings: Settings) -> Embedder:
        """Return the embedder that other settings name, its calls counted; raise ConfigurationError."""
        from agentstate.providers.choose import choose_embedder

        return choose_embedder(settings, count=partial(self.counters.add_count, "embedding"))

    @part
    def summarizer(self) -> Summarizer:
        """The summarizer that the settings name; raises ConfigurationError when it cannot be used."""
        from agentstate.providers.choose import choose_summarizer

        return self.once("summarizer", lambda: choose_summarizer(self.settings))

    @part
    def qdrant(self) -> QdrantClient:
        """Qdrant, or the one-machine engine."""
        from agentstate.memory.index.collection import open_qdrant

        return self.once("qdrant", lambda: open_qdrant(self.settings.qdrant_url, api_key=self.settings.qdrant_api_key))

    @part
    def index(self) -> MemoryIndex:
        """The index of the vector space in use."""
        from agentstate.memory.index.qdrant_index import MemoryIndex

        return self.once("index", lambda: MemoryIndex(lambda: self.qdrant, self.embedder.space))

    @part
    def memory(self) -> MemoryService:
        """Semantic memory of all agents."""
        from agentstate.memory.facts.service import MemoryService

        return self.once(
            "memory",
            lambda: MemoryService(
                self.store, self.jobs, self.index, self.embedder, self.settings, recent=lambda: self.recent_episodes
            ),
        )

    @part
    def embedding(self) -> EmbeddingPipeline:
        """The pipeline that embeds and indexes pending memories."""
        from agentstate.memory.embedding.worker import EmbeddingPipeline

        return self.once("embedding", lambda: EmbeddingPipeline(self.store, self.index, self.embedder, self.settings))

    @part
    def recent_episodes(self) -> RecentEpisodes:
        """Copies in Redis of agents' newest episodes."""
        from agentstate.memory.episodes.recent import RecentEpisodes

        return self.once("recent_episodes", lambda: RecentEpisodes(self.redis))

    @part
    def episode_archive(self) -> EpisodeArchive:
        """The durable episodes of all agents."""
        from agentstate.memory.episodes.archive import EpisodeArchive

        return self.once("episode_archive", lambda: EpisodeArchive(self.store))

    @part
    def lesson_jobs(self) -> LessonJobs:
        """Submits the jobs that draw lessons from episodes."""
        from agentstate.memory.episodes.lesson_jobs import LessonJobs

        return self.once("lesson_jobs", lambda: LessonJobs(self.jobs))

    def episodes_of(self, agent_id: str) -> EpisodicStore:
        """Return the episodes of one agent."""
        load_parts()
        from agentstate.memory.episodes.store import EpisodicStore

        return EpisodicStore(
            self.episode_archive, agent_id, self.settings, recent=self.recent_episodes, lessons=self.lesson_jobs
        )

    @part
    def gateway(self) -> Gateway:
        """The client of the financial services; raises ConfigurationError without a key."""
        from agentstate.services.http.gateway import Gateway

        return self.once(
            "gateway",
            lambda: Gateway(dialect=build_dialect(self.settings, lambda: self.store), traffic=self.traffic),
        )

    @part
    def traffic(self) -> SharedTraffic:
        """The rate limiter and the circuit breaker that all processes behind one address share."""
        from agentstate.services.http.traffic import SharedTraffic

        settings = self.settings
        return self.once(
            "traffic",
            lambda: SharedTraffic(self.redis, egress=settings.services_egress, limits=settings.services_limits),
        )

    @property
    def gateway_if_any(self) -> Gateway | None:
        """The gateway; None without a key, as effects outside the financial services need none."""
        by_key = self.settings.services_dialect == "gateway"
        return None if by_key and self.settings.services_api_key is None else self.gateway

    @part
    def cache(self) -> StateCache:
        """States at the services, read through Redis."""
        from agentstate.services.cache.source import GatewaySource
        from agentstate.services.cache.state_cache import StateCache

        return self.once(
            "cache",
            lambda: StateCache(
                GatewaySource(self.gateway),
                self.redis,
                wake=lambda: self.wake_ups.send_bulk_wake_up("cache.refresh_ahead"),
                count=partial(self.counters.add_count, "state_reads"),
            ),
        )

    @part
    def operations(self) -> OperationRegistry:
        """The operations of the services with their bookkeeping, by name."""
        from agentstate.services.operations.registry import OPERATIONS

        return OPERATIONS

    @part
    def effects(self) -> Effects:
        """The engine of effects of all agents."""
        from agentstate.money.effects.engine import Effects

        secret = self.settings.effects_secret
        return self.once(
            "effects",
            lambda: Effects(
                self.store,
                self.jobs,
                secret=secret.get_secret_value().encode() if secret else None,
                registry=self.operations,
                outside=lambda: self.gateway,
                on_change=self._drop_states,
            ),
        )

    def _drop_states(self, changed: Sequence[AgentService]) -> None:
        """Invalidate the cached states of services that an effect has changed."""
        from agentstate.services.operations.names import Service

        cached = {each.value for each in Service}
        for agent_id, service in changed:
            if service in cached and self.gateway_if_any is not None:
                self.cache.invalidate(agent_id, service)

    @part
    def accounts(self) -> ServiceAccounts:
        """The accounts of all agents at the services."""
        from agentstate.money.reconciliation.enrolment import ServiceAccounts

        return self.once("fleet", lambda: ServiceAccounts(self.store))

    @part
    def reconciler(self) -> Reconciler:
        """The reconciler, which compares the books with the services."""
        from agentstate.money.reconciliation.reconciler import Reconciler, ReconRules
        from agentstate.services.observing import GatewayReader

        rules = ReconRules(every_s=self.settings.reconcile_every_s)
        return self.once("reconciler", lambda: Reconciler(self.store, GatewayReader(self.gateway), rules))

    @part
    def snapshots(self) -> SnapshotTaker:
        """Taker and reader of portfolio snapshots."""
        from agentstate.money.reconciliation.portfolio_snapshots import SnapshotTaker
        from agentstate.services.observing import CacheReader

        return self.once("snapshots", lambda: SnapshotTaker(self.store, CacheReader(self.cache)))

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        with self._own_lock():
            counters = self._made.pop("counters", None)
        if counters is not None:
            counters.close()  # while there is a store to write to; its thread may need the lock for that
        with self._own_lock():
            # What was made later may use what was made before.
            for made in reversed(self._made.values()):
                closer = getattr(made, "close", None)
                if callable(closer):
                    closer()
            self._made.clear()

    def _own_lock(self) -> threading.RLock:
        # What was opened before a fork belongs to the parent: its sockets must not be used, nor closed, here.
        if self._pid != os.getpid():
            self._pid, self._made, self._lock = os.getpid(), {}, threading.RLock()
        return self._lock


def build_dialect(settings: Settings, open_store: Callable[[], Store]) -> Dialect:
    """Return the dialect that the settings name.

    Raises:
        ConfigurationError: the key, or the file of the services, is missing or wrong.
    """
    if settings.services_dialect == "gateway":
        from agentstate.services.http.dialect import UnifiedGateway

        if settings.services_api_key is None:
            raise ConfigurationError("AGENTSTATE_SERVICES_API_KEY is not set; the services need a key.")
        return UnifiedGateway(settings.services_url, settings.services_api_key)
    from agentstate.services.http.dialect import OwnRoutes
    from agentstate.services.http.services_file import ServicesFile
    from agentstate.services.observing import StoredAccounts

    if settings.services_file is None:
        raise ConfigurationError("AGENTSTATE_SERVICES_FILE is not set; the services' own routes need it.")
    return OwnRoutes(ServicesFile(settings.services_file), StoredAccounts(open_store()))
