"""The same agent and fleet for asyncio: every verb of `Agent`, awaited.

The core is synchronous; a verb runs in a thread, so the event loop does no I/O. A task that is cancelled while it waits
does not stop a verb that has begun: its outcome is recorded, and a call with the same key finds out which it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack
from weakref import WeakSet

from agentstate.agent import Agent, ConnectionUrls, Fleet, connect, default_fleet
from agentstate.aio.memory import AsyncContext, AsyncConversation, AsyncEpisodes, AsyncMemory, AsyncNamespaces
from agentstate.aio.money import AsyncBreaks, AsyncEffects, AsyncGuards, AsyncLedger, AsyncServices
from agentstate.aio.state import AsyncJobs, AsyncProfile, AsyncStateStore, AsyncUpdates
from agentstate.aio.threads import ThreadRunner
from agentstate.settings import Settings
from agentstate.store.store import Transaction

T = TypeVar("T")

THREADS = 8
"""Verbs that run at a time unless another number is given."""


class AsyncAgent:
    """One agent with coroutines for verbs: `await agent.memory.recall("...")`.

    Its parts are those of `Agent`, by the same names and with the same arguments, results and errors. Iterators become
    asynchronous iterators and context managers asynchronous ones. Works after a fork and can be pickled.

    Args:
        agent_id: as for `Agent`.
        fleet: whose connections it uses; left out, the default fleet of this process.
        threads: how many verbs of this agent run at a time; further ones wait their turn.

    Raises:
        InvalidInput: the id cannot name an agent.

    Example:
        async with AsyncAgent("ag_7") as agent:
            await agent.memory.remember("Fees are low on Sundays.", kind="lesson")
    """

    def __init__(self, agent_id: str, fleet: Fleet | None = None, *, threads: int = THREADS) -> None:
        self.sync = Agent(agent_id, fleet)
        """The synchronous agent, for `run`."""
        self._threads = threads
        self._runner = ThreadRunner(threads, f"agentstate-{agent_id}")

    @property
    def id(self) -> str:
        """The agent's id."""
        return self.sync.id

    @property
    def memory(self) -> AsyncMemory:
        """Its memories."""
        return AsyncMemory(self._runner, lambda: self.sync.memory)

    @property
    def namespaces(self) -> AsyncNamespaces:
        """The namespaces that it shares with other agents."""
        return AsyncNamespaces(self._runner, lambda: self.sync.namespaces)

    @property
    def episodes(self) -> AsyncEpisodes:
        """Its recent events."""
        return AsyncEpisodes(self._runner, lambda: self.sync.episodes)

    def conversation(self, session: str) -> AsyncConversation:
        """Return one of its conversations."""
        return AsyncConversation(self._runner, lambda: self.sync.conversation(session))

    def context(self, max_tokens: int = 180_000, *, model: str | None = None) -> AsyncContext:
        """Return its working memory, as `Agent.context`: `await context.portfolio()`, `await context.build()`."""
        opened: list[Any] = []

        def open_once() -> Any:
            if not opened:
                opened.append(self.sync.context(max_tokens, model=model))
            return opened[0]

        return AsyncContext(self._runner, open_once)

    @property
    def ledger(self) -> AsyncLedger:
        """Its books."""
        return AsyncLedger(self._runner, lambda: self.sync.ledger)

    @property
    def effects(self) -> AsyncEffects:
        """Its effects on the outside, at most once each."""
        return AsyncEffects(self._runner, lambda: self.sync.effects)

    @property
    def breaks(self) -> AsyncBreaks:
        """The differences between its books and the services that are not explained yet."""
        return AsyncBreaks(self._runner, lambda: self.sync.breaks)

    @property
    def guards(self) -> AsyncGuards:
        """Its limits, which hold in all processes."""
        return AsyncGuards(self._runner, lambda: self.sync.guards)

    @property
    def services(self) -> AsyncServices:
        """Its accounts and states at the financial services."""
        return AsyncServices(self._runner, lambda: self.sync.services)

    @property
    def state(self) -> AsyncStateStore:
        """Its state between sessions, in versions."""
        return AsyncStateStore(self._runner, lambda: self.sync.state)

    @property
    def profile(self) -> AsyncProfile:
        """Its fields that change often."""
        return AsyncProfile(self._runner, lambda: self.sync.profile)

    @property
    def updates(self) -> AsyncUpdates:
        """Its live updates, which a reader can resume."""
        return AsyncUpdates(self._runner, lambda: self.sync.updates)

    @property
    def jobs(self) -> AsyncJobs:
        """Its work in the background."""
        return AsyncJobs(self._runner, lambda: self.sync.jobs)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction that the verbs awaited in the block join, as `Agent.transaction`."""
        store = await self._runner.run(lambda: self.sync.fleet.runtime.store)
        async with self._runner.enter(store.transaction()) as tx:
            with store.join_transaction(tx):
                yield tx

    async def count_prompt(
        self, messages: Sequence[Mapping[str, Any]], model: str, *, system: str | None = None
    ) -> int:
        """Return the tokens of a final prompt as the provider of `model` counts them; one request to it."""
        return await self._runner.run(partial(self.sync.count_prompt, messages, model, system=system))

    async def run(self, work: Callable[[Agent], T]) -> T:
        """Run `work` with the synchronous agent in a thread, for several verbs in one go."""
        return await self._runner.run(partial(work, self.sync))

    async def close(self) -> None:
        """Wait for verbs that have begun, and end the threads; the fleet's connections stay open."""
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(AsyncAgent, threads=self._threads), (self.id, self.sync.fleet))

    def __repr__(self) -> str:
        return f"AsyncAgent({self.id!r})"


class AsyncFleet:
    """A fleet of asynchronous agents; see `connect_async`.

    Example:
        async with agentstate.connect_async() as fleet:
            agent = fleet.agent("ag_7")
            await agent.ledger.balance("casino")
    """

    def __init__(self, fleet: Fleet | None = None, *, threads: int = THREADS) -> None:
        self.sync = fleet or default_fleet()
        """The synchronous fleet, for `run`."""
        self._threads = threads
        self._runner = ThreadRunner(threads, "agentstate-fleet")
        self._agents: WeakSet[AsyncAgent] = WeakSet()

    def agent(self, agent_id: str) -> AsyncAgent:
        """Return one agent; nothing is read or opened before its first verb. Raises InvalidInput."""
        agent = AsyncAgent(agent_id, self.sync, threads=self._threads)
        self._agents.add(agent)
        return agent

    async def run(self, work: Callable[[Fleet], T]) -> T:
        """Run `work` with the synchronous fleet in a thread: `await fleet.run(lambda fleet: fleet.jobs.counts())`."""
        return await self._runner.run(partial(work, self.sync))

    async def close(self) -> None:
        """Wait for verbs that have begun, then close the connections."""
        agents, self._agents = list(self._agents), WeakSet()
        for agent in agents:
            await agent.close()
        await self._runner.run(self.sync.close)
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def connect_async(
    settings: Settings | None = None,
    *,
    env_file: Path | str | None = None,
    threads: int = THREADS,
    **urls: Unpack[ConnectionUrls],
) -> AsyncFleet:
    """Return a fleet for asyncio; takes the arguments of `connect` and raises as it does.

    Args:
        settings: complete settings; then neither a file nor addresses may be given.
        env_file: a settings file; the environment wins over it.
        threads: how many verbs of one agent run at a time.
        **urls: addresses that win over the environment; see `ConnectionUrls`.
    """
    return AsyncFleet(connect(settings, env_file=env_file, **urls), threads=threads)
