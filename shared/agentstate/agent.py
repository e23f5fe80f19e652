"""The front door: one agent's whole state, opened from settings.

Each part is a thin view of the library with the agent's id filled in. Connections are opened at the first use, once per
process, and shared by all agents of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.ids import checked_name
from agentstate.runtime import Runtime

if TYPE_CHECKING:
    from agentstate.agent_context import AgentContext
    from agentstate.jobs import Job
    from agentstate.memory.conversation import ConversationHistory
    from agentstate.memory.episodes.store import EpisodicStore
    from agentstate.memory.facts.counts import Watermark
    from agentstate.memory.facts.forget import ForgetReceipt
    from agentstate.memory.facts.records import MemoryRecord
    from agentstate.memory.facts.service import Receipt
    from agentstate.memory.search.recall import Recall
    from agentstate.money.amounts import Money
    from agentstate.money.effects.engine import Effects
    from agentstate.money.guards import Guards
    from agentstate.money.ledger.ledger import TransactionLedger
    from agentstate.money.reconciliation.portfolio_snapshots import Snapshot
    from agentstate.money.reconciliation.reconciler import Finding
    from agentstate.services.adapter import Adapter
    from agentstate.services.cache.entry import CacheEntry
    from agentstate.services.cache.portfolio import Portfolio
    from agentstate.services.operations.base import Operation
    from agentstate.state.agent_state import AgentState
    from agentstate.state.profile import AgentProfile
    from agentstate.state.updates import StateSync
    from agentstate.state.versions import StateVersion
    from agentstate.store import Transaction

_shared_lock = threading.Lock()
_shared: Runtime | None = None


def shared_runtime() -> Runtime:
    """The runtime that all agents of this process share unless they are given one."""
    global _shared  # noqa: PLW0603 one per process is what it is
    with _shared_lock:
        if _shared is None:
            _shared = Runtime.load()
        return _shared


class Agent:
    """One agent.

    Raises:
        InvalidInput: the id cannot name an agent.
        ConfigurationError: a setting is missing, unknown or wrong.
    """

    def __init__(self, agent_id: str, runtime: Runtime | None = None) -> None:
        self.id = checked_name(agent_id)
        self.runtime = runtime or shared_runtime()

    def __repr__(self) -> str:
        return f"Agent({self.id!r})"

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A write transaction: what is given it as `tx=` becomes durable together or not at all."""
        return self.runtime.store.transaction()

    @property
    def memory(self) -> AgentMemory:
        """What it knows."""
        return AgentMemory(self)

    @property
    def episodes(self) -> EpisodicStore:
        """What happened lately."""
        return self.runtime.episodes_of(self.id)

    def conversation(self, session: str) -> ConversationHistory:
        """One of its conversations."""
        from agentstate.memory.conversation import ConversationHistory

        return ConversationHistory(self.runtime.store, self.runtime.jobs, self.runtime.settings, self.id, session)

    def context(self, max_tokens: int = 180_000, *, model: str | None = None) -> AgentContext:
        """Its working memory: slots under a budget of tokens, for a model by name.

        Args:
            max_tokens: tokens of the built text at most.
            model: who will read it; None counts for the family with the most tokens.
        """
        from agentstate.agent_context import AgentContext

        return AgentContext(self, max_tokens, model=model)

    def count_prompt(self, messages: Sequence[Mapping[str, Any]], model: str, *, system: str | None = None) -> int:
        """Tokens of a final prompt as the provider of `model` counts them; one request to it."""
        from agentstate.providers.tokens.prompt_counters import count_prompt

        return count_prompt(self.runtime.settings, model, messages, system=system)

    @property
    def ledger(self) -> TransactionLedger:
        """Its books."""
        from agentstate.money.ledger.ledger import TransactionLedger

        return TransactionLedger(self.runtime.store, self.id)

    @property
    def effects(self) -> AgentEffects:
        """What it does outside, at most once each."""
        return AgentEffects(self)

    @property
    def guards(self) -> Guards:
        """What it may do at most, in all processes."""
        from agentstate.money.guards import Guards

        return Guards(self.runtime.store, self.id)

    @property
    def services(self) -> AgentServices:
        """Its state at the financial services."""
        return AgentServices(self)

    @property
    def state(self) -> AgentStateStore:
        """Its state between sessions, in versions."""
        return AgentStateStore(self)

    @property
    def profile(self) -> AgentProfile:
        """Its fields that change often."""
        from agentstate.state.profile import AgentProfile
        from agentstate.state.profile_cache import ProfileCache

        copy = ProfileCache(self.runtime.redis, self.id)
        return AgentProfile(self.runtime.store, copy, self.id, max_bytes=self.runtime.settings.max_payload_bytes)

    @property
    def updates(self) -> StateSync:
        """What changes, as it changes, and from where a reader was."""
        from agentstate.state.update_stream import UpdateStream
        from agentstate.state.updates import StateSync

        return StateSync(
            self.runtime.store, lambda agent_id: UpdateStream(self.runtime.waiting_redis, agent_id), self.id
        )

    @property
    def jobs(self) -> AgentJobs:
        """Its work in the background."""
        return AgentJobs(self)


class AgentMemory:
    """The memories of one agent; see `agentstate.memory.facts.service.SemanticMemory`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def remember(self, content: str, *, kind: str = "fact", tx: Transaction | None = None, **options: Any) -> Receipt:
        """Keep `content`: durable at return, searchable soon; the same content of the same kind is kept once.

        `options` are those of `SemanticMemory.remember`: metadata, source, at, subject, importance, valid_from,
        valid_to, namespace.
        """
        return self._agent.runtime.memory.remember(self._agent.id, content, kind=kind, tx=tx, **options)

    def recall(self, query: str, limit: int = 5, **options: Any) -> Recall:
        """The memories that answer `query`, best first; none when nothing does."""
        return self._agent.runtime.memory.recall(self._agent.id, query, limit, **options)

    def wait_searchable(self, receipts: Sequence[Receipt], *, timeout_s: float = 30.0) -> None:
        """Return once all are in the index; raises WaitTimeout."""
        self._agent.runtime.memory.wait_searchable(receipts, timeout_s=timeout_s)

    def believed(self, subject: str, *, as_of: datetime | None = None, **options: Any) -> MemoryRecord | None:
        """The statement about `subject` that was held for true at `at`, now when left out."""
        return self._agent.runtime.memory.believed(self._agent.id, subject, as_of=as_of, **options)

    def statements(self, subject: str, **options: Any) -> list[MemoryRecord]:
        """All statements about `subject`, by the time since which they hold."""
        return self._agent.runtime.memory.statements(self._agent.id, subject, **options)

    def export(self, **options: Any) -> Iterator[MemoryRecord]:
        """All memories, in the order in which they were accepted."""
        return self._agent.runtime.memory.export(self._agent.id, **options)

    def watermark(self) -> Watermark:
        """How far the memories are searchable."""
        return self._agent.runtime.memory.watermark(self._agent.id)

    def forget(self, memory_id: UUID, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove one memory from every store; the receipt tells what was found there afterwards."""
        return self._agent.runtime.memory.forget(self._agent.id, memory_id, namespace=namespace)

    def forget_all(self, *, conversations: bool = False) -> ForgetReceipt:
        """Remove all memories and episodes from every store, and with `conversations` every turn and summary too.

        Books and effects are never forgotten, and states and the profile stay; `receipt.kept` tells how many rows of
        each there are.
        """
        return self._agent.runtime.memory.forget_agent(self._agent.id, conversations=conversations)


class AgentEffects:
    """The effects of one agent; see `agentstate.money.effects.engine.Effects`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @property
    def engine(self) -> Effects:
        """The effects with all their options."""
        return self._agent.runtime.effects_of(self._agent.id)

    def execute_once(self, key: str, operation: Operation, /, *, hold: Money | None = None, **params: Any) -> Any:
        """Do `operation` at most once for `key`, ever; return its receipt, the stored one when it was done before.

        Args:
            key: your name for this very call, such as `bet:round-981`; a new key is a new call.
            operation: such as `agent.services.casino.bet`.
            hold: the most that it may cost, where its parameters do not tell.
            **params: the operation's own.

        Raises:
            KeyReused, InvalidInput, InsufficientFunds, LimitExceeded, Frozen: nothing was called.
            ServiceUnreachable, or ServiceRejected with `retry_after`: it had no effect; call again with the same key.
            EffectFailed: it certainly had no effect. EffectInDoubt: it is being found out; ask again, same key.
            EffectInProgress: another process is at it.
        """
        return self.perform(key, operation.name, params, hold=hold)

    def perform(self, key: str, operation: str, params: Mapping[str, Any], *, hold: Money | None = None) -> Any:
        """`execute_once` of an operation by its name, such as `casino.bet`."""
        cache = self._agent.runtime.cache  # before anything is written: without a key there is no way to the services
        try:
            return self.engine.perform(key, operation, params, hold=hold)
        finally:  # also a call that failed or is in doubt may have changed something
            named = [params.get("counterparty"), params.get("to") if operation == "casino.pay" else None]
            others = [str(name) for name in named if name]
            if found := self._agent.runtime.operations.get(operation):
                cache.invalidate(self._agent.id, found.service, others=others)

    def submit(self, key: str, operation: Operation, /, *, tx: Transaction | None = None, **params: Any) -> UUID:
        """Let a worker do `operation` at most once for `key`, ever; return the id of its job.

        The same key gives the same job. Its result tells the `state` of the effect, and the receipt.

        Raises:
            InvalidInput: a parameter is wrong. KeyReused: the key was submitted with other parameters.
        """
        operation.check("to be submitted", **params)
        payload = {"key": key, "operation": operation.name, "params": params}
        return self._agent.runtime.jobs.submit(
            "effects.perform", payload, agent_id=self._agent.id, dedupe_key=key, tx=tx
        )


class AgentServices:
    """One agent at the financial services."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def enrol(self, service: str, account: str | None = None, *, tx: Transaction | None = None) -> bool:
        """Note the agent's account at a service, so that it is reconciled and in snapshots; False when known."""
        return self._agent.runtime.fleet.enrol(self._agent.id, service, account or self._agent.id, tx=tx)

    def at(self, service: str) -> Adapter:
        """One service: its operations, its state, its ledger, its limits; raises InvalidInput when there is none."""
        from agentstate.services.adapter import Adapter

        return Adapter(self._agent.runtime.gateway, self._agent.id, service)

    @property
    def casino(self) -> Adapter:
        """The casino, as in `agent.services.casino.bet`."""
        return self.at("casino")

    @property
    def trading(self) -> Adapter:
        """Trading."""
        return self.at("trading")

    @property
    def wallet(self) -> Adapter:
        """The wallet."""
        return self.at("wallet")

    @property
    def domains(self) -> Adapter:
        """Domains."""
        return self.at("domains")

    @property
    def faucet(self) -> Adapter:
        """The faucet."""
        return self.at("faucet")

    @property
    def escrow(self) -> Adapter:
        """Escrow."""
        return self.at("escrow")

    def read(self, service: str, *, force_refresh: bool = False, stale_for_s: float = 0.0) -> CacheEntry:
        """The agent's state at a service, with its age and quality; see `StateCache.get` for the options."""
        return self._agent.runtime.cache.get(self._agent.id, service, force_refresh, stale_for_s=stale_for_s)

    def portfolio(self, *, force_refresh: bool = False) -> Portfolio:
        """All six states side by side; one that cannot be read is unknown, never 0.

        Money in flight, as our books know it, stands on a line of its own.
        """
        from agentstate.money.amounts import DEFAULT_CURRENCY
        from agentstate.money.reconciliation.books_snapshot import in_flight

        runtime, agent_id = self._agent.runtime, self._agent.id
        held = partial(in_flight, runtime.store, agent_id, DEFAULT_CURRENCY)
        return runtime.cache.portfolio_snapshot(agent_id, force_refresh, in_flight=held)

    def reconcile(self, service: str) -> Finding:
        """Compare the agent's books with a service now."""
        return self._agent.runtime.reconciler.reconcile(self._agent.id, service)

    def snapshot(self) -> Snapshot | None:
        """The agent's newest portfolio snapshot, None when there is none."""
        return self._agent.runtime.snapshots.latest(self._agent.id)


class AgentStateStore:
    """The state of one agent; see `agentstate.state.agent_db.AgentDB`."""

    def __init__(self, agent: Agent) -> None:
        from agentstate.state.agent_db import AgentDB

        self._id = agent.id
        self._db = AgentDB(agent.runtime.store)

    def load(self, *, at: datetime | None = None, version: int | None = None) -> AgentState | None:
        """The newest state, the one that was saved by `at`, or the one of a version; None when there is none."""
        return self._db.load_state(self._id, at=at, version=version)

    def save(
        self, state: AgentState | Mapping[str, Any], *, version: int | None = None, tx: Transaction | None = None
    ) -> AgentState:
        """Save a state; raises Conflict when another version than the one it was made from is the newest."""
        return self._db.save_state(self._id, state, version=version, tx=tx)

    def update(self, change: Callable[[AgentState], AgentState], *, tx: Transaction | None = None) -> AgentState:
        """Save what `change` makes of the newest state, an empty one when there is none."""
        return self._db.update_state(self._id, change, tx=tx)

    def history(self, *, limit: int = 20, before: int | None = None) -> list[StateVersion]:
        """The versions as they were written, newest first."""
        return self._db.history(self._id, limit=limit, before=before)


class AgentJobs:
    """The jobs of one agent; see `agentstate.jobs.Jobs`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def submit(self, kind: str, payload: Mapping[str, Any] | None = None, **options: Any) -> UUID:
        """Submit a job of the agent; see `Jobs.submit` for the options."""
        return self._agent.runtime.jobs.submit(kind, dict(payload or {}), agent_id=self._agent.id, **options)

    def get(self, job_id: UUID | str) -> Job:
        """One job of the agent; raises NotFound, also for another agent's."""
        from agentstate.errors import NotFound

        job = self._agent.runtime.jobs.get(job_id)
        if job.agent_id != self._agent.id:
            raise NotFound(f"{self._agent.id} has no job {job_id}.")
        return job

    def wait(self, job_id: UUID | str, *, timeout_s: float = 30.0) -> Job:
        """Return the job once it has ended well; raises JobDead or WaitTimeout."""
        self.get(job_id)
        return self._agent.runtime.jobs.wait(job_id, timeout_s=timeout_s)

    def list(self, *, status: str | None = None, kind: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs of the agent that match."""
        return self._agent.runtime.jobs.list(status=status, kind=kind, agent_id=self._agent.id, limit=limit)
