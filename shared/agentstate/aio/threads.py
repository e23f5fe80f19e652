"""Running the synchronous verbs in threads, the basis of every part of `AsyncAgent`.

The threads are made on first use and again in each process that is forked. A task that is cancelled while it waits
does not stop a verb that has begun: the verb goes on in its thread and its outcome is recorded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import Final, Generic, TypeVar

P = TypeVar("P")
T = TypeVar("T")

_END: Final = object()


class ThreadRunner:
    """Runs calls in its own threads, with the context variables of the task that awaits them.

    Args:
        threads: how many calls run at a time; further ones wait their turn.
        name: how the threads are called in a debugger.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads, self._name = threads, name
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    async def run(self, call: Callable[[], T]) -> T:
        """Await `call` in a thread; its errors are raised here."""
        # Threads do not survive a fork: a pool of the parent would wait for ever in a child.
        if self._pool is None or self._pid != os.getpid():
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            self._pid = os.getpid()
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, call)

    async def iterate(self, start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        """Yield the items of the iterator that `start` returns, each fetched in a thread."""
        iterator = await self.run(start)
        while (item := await self.run(partial(next, iterator, _END))) is not _END:
            yield item

    @asynccontextmanager
    async def enter(self, context: AbstractContextManager[T]) -> AsyncIterator[T]:
        """Enter and leave a synchronous context manager in threads; it is left also when the task is cancelled."""
        entered = await self.run(context.__enter__)
        try:
            yield entered
        except BaseException as error:
            leave = partial(context.__exit__, type(error), error, error.__traceback__)
            if not await asyncio.shield(self.run(leave)):
                raise
        else:
            await asyncio.shield(self.run(partial(context.__exit__, None, None, None)))

    async def close(self) -> None:
        """Wait for calls that have begun, and end the threads; the next call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            await asyncio.to_thread(pool.shutdown)


class AsyncPart(Generic[P]):
    """A part of an agent or a fleet with coroutines for verbs.

    Args:
        runner: the threads that its verbs run in.
        open_part: gives the synchronous part; called in a thread, as it may open connections.
    """

    def __init__(self, runner: ThreadRunner, open_part: Callable[[], P]) -> None:
        self._runner, self._open_part = runner, open_part

    async def _run_verb(self, work: Callable[[P], T]) -> T:
        return await self._runner.run(lambda: work(self._open_part()))

    def _iterate_verb(self, start: Callable[[P], Iterator[T]]) -> AsyncIterator[T]:
        return self._runner.iterate(lambda: start(self._open_part()))

    @asynccontextmanager
    async def _enter_verb(self, start: Callable[[P], AbstractContextManager[T]]) -> AsyncIterator[T]:
        context = await self._run_verb(start)
        async with self._runner.enter(context) as entered:
            yield entered
