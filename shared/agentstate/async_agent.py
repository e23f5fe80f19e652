"""The same agent for asyncio: every verb of `Agent`, awaited.

The core is synchronous; a verb runs in a thread of its own pool, so the event loop goes on. A task that is cancelled
while it waits does not stop a verb that has begun: what it does is done or left as after a crash, and a call with the
same key finds out which.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar

from agentstate.agent import Agent
from agentstate.state.subscription import Subscription
from agentstate.state.update_group import UpdateGroup

if TYPE_CHECKING:
    from agentstate.agent import Fleet

T = TypeVar("T")

PARTS = frozenset(
    {"memory", "episodes", "ledger", "effects", "guards", "services", "state", "profile", "updates", "jobs"}
)
THREADS = 8
_END = object()


class AsyncAgent:
    """One agent whose verbs are coroutines: `await agent.memory.recall("...")`.

    Its parts are those of `Agent`, by the same names and with the same arguments and errors; what is not a verb, such
    as a value, is handed on as it is, and what is iterated over is read by `async for`. Close it, or use it in `async
    with`, to end its threads; the connections belong to the fleet and stay open for others.

    Args:
        agent_id: as for `Agent`.
        fleet: as for `Agent`.
        threads: how many verbs of this agent run at a time; further ones wait their turn.
    """

    def __init__(self, agent_id: str, fleet: Fleet | None = None, *, threads: int = THREADS) -> None:
        self.sync = Agent(agent_id, fleet)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"agentstate-{self.id}")

    @property
    def id(self) -> str:
        """The agent's id."""
        return self.sync.id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncAgent({self.id!r})"

    def __getattr__(self, name: str) -> AsyncPart:
        if name not in PARTS:
            raise AttributeError(f"AsyncAgent has no part {name!r}; it has {', '.join(sorted(PARTS))}.")
        return AsyncPart(getattr(self.sync, name), self._in_thread)

    def conversation(self, session: str) -> AsyncPart:
        """One of its conversations."""
        return AsyncPart(self.sync.conversation(session), self._in_thread)

    def context(self, max_tokens: int = 180_000, *, model: str | None = None) -> AsyncPart:
        """Its working memory, as `Agent.context`: `await context.portfolio()`, `await context.build()`."""
        return AsyncPart(self.sync.context(max_tokens, model=model), self._in_thread)

    async def count_prompt(
        self, messages: Sequence[Mapping[str, Any]], model: str, *, system: str | None = None
    ) -> int:
        """As `Agent.count_prompt`."""
        return await self._in_thread(partial(self.sync.count_prompt, messages, model, system=system))

    async def run(self, work: Callable[[Agent], T]) -> T:
        """Do `work` with the synchronous agent in a thread; the place for a transaction over several verbs."""
        return await self._in_thread(partial(work, self.sync))

    async def close(self) -> None:
        """Wait for verbs that have begun, and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)


class AsyncPart:
    """A part of an agent whose methods are coroutines."""

    def __init__(self, part: Any, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._part, self._in_thread = part, in_thread

    def __repr__(self) -> str:
        return f"AsyncPart({self._part!r})"

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._part) if not name.startswith("_")]

    def __getattr__(self, name: str) -> Any:
        # A verb that has a form of its own for asyncio is taken in that form.
        found = getattr(self._part, f"{name}_async", None) or getattr(self._part, name)
        if not callable(found) or inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
            return found

        @wraps(found)
        async def verb(*args: Any, **kwargs: Any) -> Any:
            return self._awaitable(await self._in_thread(partial(found, *args, **kwargs)))

        return verb

    def _awaitable(self, answer: Any) -> Any:
        """What a verb gave, in a form that does not hold the event loop up."""
        if answer is self._part:
            return self
        if isinstance(answer, UpdateGroup | Subscription):
            return AsyncPart(answer, self._in_thread)
        return self._stepped(answer) if isinstance(answer, Iterator) else answer

    async def _stepped(self, answer: Iterator[Any]) -> AsyncIterator[Any]:
        while (step := await self._in_thread(partial(next, answer, _END))) is not _END:
            yield step
