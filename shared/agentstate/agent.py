"""The front door: `Fleet`, all agents of one deployment, and `Agent`, one agent's whole state.

Each part of an agent is a class of the library bound to the agent's id. Connections are opened on first use, once per
process and again after a fork, by the `Runtime` of the fleet; all agents of a fleet share them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from agentstate.errors import ConfigurationError
from agentstate.first_use import load_parts, part
from agentstate.ids import validate_name
from agentstate.runtime import Runtime
from agentstate.settings import Settings

if TYPE_CHECKING:
    from agentstate.agent_context import AgentContext
    from agentstate.doctor import CheckResult
    from agentstate.jobs.agent_jobs import AgentJobs
    from agentstate.jobs.jobs import Jobs
    from agentstate.memory.conversation import ConversationHistory
    from agentstate.memory.episodes.store import EpisodicStore
    from agentstate.memory.facts.namespaces import AgentNamespaces
    from agentstate.memory.facts.service import AgentMemory
    from agentstate.memory.index.maintenance import FleetIndex
    from agentstate.money.effects.engine import AgentEffects, Effects
    from agentstate.money.guards import Guards
    from agentstate.money.ledger.ledger import TransactionLedger
    from agentstate.money.reconciliation.breaks import Breaks
    from agentstate.money.reconciliation.enrolment import ServiceAccounts
    from agentstate.money.reconciliation.portfolio_snapshots import SnapshotTaker
    from agentstate.services.agent_services import AgentServices
    from agentstate.state.agent_db import AgentStateStore
    from agentstate.state.profile import AgentProfile
    from agentstate.state.updates import StateSync
    from agentstate.store import Transaction


class Fleet:
    """All agents of one deployment, with their jobs, effects, breaks, snapshots, accounts and index.

    A context manager; `close()` ends its connections, and using it again opens new ones. Safe to share between threads
    and to use after a fork. Pickling it hands on its settings: the copy opens its own connections.

    Example:
        with agentstate.connect(database_url="sqlite:///agents.db") as fleet:
            fleet.agent("ag_7").ledger.balance("casino")
            fleet.breaks.find(service="casino")
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        """The connections and engines underneath, for workers and commands of this package."""

    @property
    def settings(self) -> Settings:
        """The settings that it was opened with."""
        return self.runtime.settings

    def agent(self, agent_id: str) -> Agent:
        """Return one agent; nothing is read or opened before its first verb.

        Raises:
            InvalidInput: `agent_id` is not 1 to 128 of the characters `A-Z a-z 0-9 . _ @ : + -`.
        """
        return Agent(agent_id, self)

    @property
    def jobs(self) -> Jobs:
        """The jobs of all agents: list, show, requeue, discard."""
        return self.runtime.jobs

    @property
    def effects(self) -> Effects:
        """The effects of all agents: list, get, resolve, decide; the agent's id is the first argument of each."""
        return self.runtime.effects

    @part
    def index(self) -> FleetIndex:
        """The index of memories: list, verify, rebuild, revive."""
        from agentstate.memory.index.maintenance import FleetIndex

        return FleetIndex(self.runtime)

    def doctor(self, *, only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[CheckResult]:
        """Check every part of the deployment; each result has a verdict and the remedy.

        Args:
            only: names of checks; all when left out.
            skip: names of checks to leave out.

        Example:
            failed = [each for each in fleet.doctor() if each.finding.verdict == "fail"]
        """
        load_parts()
        from agentstate.doctor import System, run_checks

        with System(lambda: self.settings) as system:
            return run_checks(system, only=only, skip=skip)

    @part
    def breaks(self) -> Breaks:
        """The differences that reconciliation found, of all agents."""
        from agentstate.money.reconciliation.breaks import Breaks

        return Breaks(self.runtime.store)

    @property
    def snapshots(self) -> SnapshotTaker:
        """Portfolio snapshots: the newest and the history of an agent."""
        return self.runtime.snapshots

    @property
    def accounts(self) -> ServiceAccounts:
        """The accounts that agents have at the services: enrol and list."""
        return self.runtime.accounts

    def close(self) -> None:
        """Close the connections; the next verb opens new ones."""
        self.runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle_fleet, (None if self is _default else self.settings,))

    def __repr__(self) -> str:
        return "Fleet()"


class ConnectionUrls(TypedDict, total=False):
    """Addresses that `connect` and `connect_async` take; None or absent leaves the environment's."""

    database_url: str | None
    """Durable store: `postgresql+psycopg://...` or `sqlite:///file`."""
    redis_url: str | None
    """Recent episodes, cached states and live updates, such as `redis://localhost:6379/0`."""
    broker_url: str | None
    """Celery's broker."""
    qdrant_url: str | None
    """Index of memories."""
    services_url: str | None
    """Gateway of the financial services."""


def connect(
    settings: Settings | None = None, *, env_file: Path | str | None = None, **urls: Unpack[ConnectionUrls]
) -> Fleet:
    """Return a fleet that is set by the `AGENTSTATE_*` environment; opens no connection yet.

    Args:
        settings: complete settings; then nothing else may be given.
        env_file: a settings file; the environment wins over it.
        **urls: addresses that win over the environment; see `ConnectionUrls`.

    Raises:
        ConfigurationError: a setting is missing, unknown or wrong; it is named.

    Example:
        fleet = agentstate.connect(database_url="sqlite:///agents.db")
    """
    unknown = set(urls) - ConnectionUrls.__annotations__.keys()
    if unknown:
        raise TypeError(f"connect() got unknown arguments: {', '.join(sorted(unknown))}.")
    given = {name: url for name, url in urls.items() if url is not None}
    if settings is None:
        return Fleet(Runtime(Settings.load(env_file=None if env_file is None else Path(env_file), **given)))
    if given or env_file is not None:
        names = ", ".join(sorted({*given, *(["env_file"] if env_file is not None else [])}))
        raise ConfigurationError(f"connect() was given settings and {names}: give complete settings or single ones.")
    return Fleet(Runtime(settings))


_default_lock = threading.Lock()
_default: Fleet | None = None


def default_fleet() -> Fleet:
    """Return the fleet that agents of this process share unless they are given one; made on first use."""
    global _default  # noqa: PLW0603 one per process is its meaning
    with _default_lock:
        if _default is None:
            _default = connect()
        return _default


def _reset_lock_after_fork() -> None:
    global _default_lock  # noqa: PLW0603 a lock that another thread of the parent held stays locked in the child
    _default_lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_lock_after_fork)

_unpickled: list[Fleet] = []


def _unpickle_fleet(settings: Settings | None) -> Fleet:
    """Return one fleet per settings and process, so that many pickled agents share their connections."""
    if settings is None:
        return default_fleet()
    with _default_lock:
        for fleet in _unpickled:
            if fleet.settings == settings:
                return fleet
        _unpickled.append(Fleet(Runtime(settings)))
        return _unpickled[-1]


class Agent:
    """One agent: its memory, episodes, conversations, books, effects, guards, services, state and jobs.

    Cheap to make, safe to share between threads, usable after a fork, and can be pickled.

    Args:
        agent_id: 1 to 128 of the characters `A-Z a-z 0-9 . _ @ : + -`.
        fleet: whose connections it uses; left out, the default fleet of this process.

    Raises:
        InvalidInput: the id cannot name an agent.
        ConfigurationError: a setting is missing, unknown or wrong.

    Example:
        agent = Agent("ag_7")
        agent.memory.remember("Fees are low on Sundays.", kind="lesson")
    """

    def __init__(self, agent_id: str, fleet: Fleet | None = None) -> None:
        self.id = validate_name(agent_id)
        self.fleet = fleet or default_fleet()

    def __repr__(self) -> str:
        return f"Agent({self.id!r})"

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a write transaction: all writes by verbs of this fleet in the block commit together or not at all.

        Reads inside the block see what is committed. Effects cannot be executed in it, as their intent has to be
        committed before the call; submitting one can.

        Example:
            with agent.transaction():
                agent.memory.remember("Paid the rent.")
                agent.ledger.deposit("rent:5", "wallet", Money("700"))
        """
        return self.fleet.runtime.store.ambient_transaction()

    @property
    def memory(self) -> AgentMemory:
        """Its memories."""
        return self.fleet.runtime.memory.of(self.id)

    @property
    def namespaces(self) -> AgentNamespaces:
        """The namespaces that it shares with other agents."""
        return self.memory.namespaces

    @property
    def episodes(self) -> EpisodicStore:
        """Its recent events."""
        return self.fleet.runtime.episodes_of(self.id)

    def conversation(self, session: str) -> ConversationHistory:
        """Return one of its conversations."""
        load_parts()
        from agentstate.memory.conversation import ConversationHistory

        runtime = self.fleet.runtime
        return ConversationHistory(runtime.store, runtime.jobs, runtime.settings, self.id, session)

    def context(self, max_tokens: int = 180_000, *, model: str | None = None) -> AgentContext:
        """Return its working memory: slots under a budget of tokens, for a model by name.

        Args:
            max_tokens: tokens of the built text at most.
            model: the model that will read it; None counts for the family with the most tokens.
        """
        load_parts()
        from agentstate.agent_context import AgentContext
        from agentstate.providers.tokens import counter_for

        counter = counter_for(model, self.fleet.runtime.settings.token_counter)
        return AgentContext(self, self.fleet.breaks, max_tokens, model=model, counter=counter)

    def count_prompt(self, messages: Sequence[Mapping[str, Any]], model: str, *, system: str | None = None) -> int:
        """Return the tokens of a final prompt as the provider of `model` counts them; one request to it."""
        load_parts()
        from agentstate.providers.tokens.prompt_counters import count_prompt

        return count_prompt(self.fleet.runtime.settings, model, messages, system=system)

    @part
    def ledger(self) -> TransactionLedger:
        """Its books."""
        from agentstate.money.ledger.ledger import TransactionLedger

        return TransactionLedger(self.fleet.runtime.store, self.id)

    @part
    def effects(self) -> AgentEffects:
        """Its effects on the outside, at most once each."""
        from agentstate.money.effects.engine import AgentEffects

        return AgentEffects(self.fleet.runtime.effects, self.id)

    @part
    def breaks(self) -> Breaks:
        """The differences between its books and the services that are not explained yet."""
        from agentstate.money.reconciliation.breaks import Breaks

        return Breaks(self.fleet.runtime.store, self.id)

    @part
    def guards(self) -> Guards:
        """Its limits, which hold in all processes."""
        from agentstate.money.guards import Guards

        return Guards(self.fleet.runtime.store, self.id)

    @part
    def services(self) -> AgentServices:
        """Its state at the financial services."""
        from agentstate.services.agent_services import AgentServices

        return AgentServices(self.fleet.runtime, self.id)

    @part
    def state(self) -> AgentStateStore:
        """Its state between sessions, in versions."""
        from agentstate.state.agent_db import AgentStateStore

        return AgentStateStore(self.fleet.runtime.store, self.id)

    @part
    def profile(self) -> AgentProfile:
        """Its fields that change often."""
        from agentstate.state.profile import AgentProfile
        from agentstate.state.profile_cache import ProfileCache

        copy = ProfileCache(self.fleet.runtime.redis, self.id)
        return AgentProfile(
            self.fleet.runtime.store, copy, self.id, max_bytes=self.fleet.runtime.settings.max_payload_bytes
        )

    @part
    def updates(self) -> StateSync:
        """Its live updates, which a reader can resume."""
        from agentstate.state.update_stream import UpdateStream
        from agentstate.state.updates import StateSync

        return StateSync(
            self.fleet.runtime.store, lambda agent_id: UpdateStream(self.fleet.runtime.waiting_redis, agent_id), self.id
        )

    @part
    def jobs(self) -> AgentJobs:
        """Its work in the background."""
        from agentstate.jobs.agent_jobs import AgentJobs

        return AgentJobs(self.fleet.runtime.jobs, self.id)
