"""One connection pool per process, run by one event loop in a thread of its own.

Threads, and event loops of callers, submit their requests to that loop: all share the pool, several reads of one task
run in parallel, and a deadline bounds the whole exchange, however slowly the answer arrives.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

T = TypeVar("T")

CONNECT_S, READ_S, DEADLINE_S = 3.0, 10.0, 15.0
CONNECTIONS = 32
"""Requests under way at one time; more wait for their turn within their deadline."""

WAITING = 64
"""Requests that may wait for room under a rate limit, or for Redis, at one time."""

IDLE_S = 4.0
"""The services close idle connections after 5 s; ours are given up a little before."""

WORK_DEADLINES = 2.0
"""Work of several exchanges, one after another, may take so many deadlines of one; then its caller waits no longer."""

_GRACE_S = 1.0
"""So long an exchange that was cancelled may take to end."""

LARGEST_ANSWER = 4 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FIRST_BYTE = ".send_request_headers.started"

_left_behind: list[object] = []
"""Engines of a parent process: never closed here, since their sockets and their selector are still the parent's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Status and body of an answer."""

    status: int
    content: bytes


class NotSent(Exception):
    """The exchange ended before its first byte was sent; `cause` says how."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)


class AnswerLost(Exception):
    """The exchange ended after its first byte was sent and before a whole answer was there."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)


class Transport:
    """Sends requests and reads their answers, once each; nothing is ever sent again here.

    Args:
        urls: the addresses that will be called; they decide whether TLS and the proxies of the environment are needed.
        deadline_s: longest time of one exchange in seconds: connecting, sending and reading the whole answer.
    """

    def __init__(self, urls: Iterable[str], *, deadline_s: float = DEADLINE_S) -> None:
        self.deadline_s = deadline_s
        self._urls = tuple(urls)
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    @property
    def work_s(self) -> float:
        """Longest time of work of several exchanges, in seconds."""
        return WORK_DEADLINES * self.deadline_s

    def run_work(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it; an interrupt cancels it.

        Raises:
            Lost: it took longer than `work_s`, or the transport was closed meanwhile. What it did is unknown.
        """
        future = asyncio.run_coroutine_threadsafe(_run_with_deadline(self.work_s, work), self._current_engine().loop)
        try:
            # The loop keeps the time; the second limit is for a loop that stands still, or is no more.
            return future.result(self.work_s + 2 * _GRACE_S)
        except TimeoutError as error:
            raise AnswerLost("Timeout") from error
        except CancelledError as error:
            raise AnswerLost("Closed") from error
        finally:
            future.cancel()

    async def send_request(self, request: httpx.Request) -> Reply:
        """Send once and read the whole answer; to be awaited within `run`.

        Raises:
            NotSent: no byte was sent.
            Lost: it may have arrived.
        """
        sent = given_up = False

        async def trace(event: str, _info: Any) -> None:
            nonlocal sent
            if not event.endswith(_FIRST_BYTE):
                return
            if given_up:  # its caller has been told that it was not sent
                raise TimeoutError
            sent = True

        request.extensions = {**request.extensions, "trace": trace}
        engine = self._current_engine()
        try:
            return await _send_in_turn(engine, request, self.deadline_s)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            if not sent:
                raise NotSent(error) from error
            raise AnswerLost("ReadTimeout" if isinstance(error, TimeoutError) else type(error).__name__) from error
        finally:
            given_up = True

    def build_request(self, method: str, url: str, **parts: Any) -> httpx.Request:
        """Build a request with this transport's time limits."""
        return self._current_engine().client.build_request(method, url, **parts)

    def close(self) -> None:
        """Close the loop and the connections; the next call opens new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None and engine.pid == os.getpid():
            engine.close()

    def _current_engine(self) -> _Engine:
        """Return this process's engine, made on first use: loops and connections must not be shared over a fork."""
        engine = self._engine
        if engine is not None and engine.pid == os.getpid():
            return engine
        with self._lock:
            if self._engine is not None and self._engine.pid != os.getpid():
                _left_behind.append(self._engine)
                self._engine = None
            if self._engine is None:
                parts = [urlsplit(url) for url in self._urls]
                self._engine = _Engine(
                    httpx.AsyncClient(
                        timeout=httpx.Timeout(min(READ_S, self.deadline_s), connect=min(CONNECT_S, self.deadline_s)),
                        limits=httpx.Limits(max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_S),
                        trust_env=any(part.hostname not in _LOOPBACK for part in parts),
                        # Redirects are not followed, so plain HTTP never turns into TLS; its context takes 0.1 s.
                        verify=any(part.scheme == "https" for part in parts),
                    )
                )
            return self._engine


async def _run_with_deadline(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; raise TimeoutError when it takes longer, even if it ignores its cancellation.

    The connection pool sometimes swallows a cancellation while it cleans up. A caller that waits for ever is worse
    than a connection that is lost.
    """
    task = asyncio.ensure_future(work)
    # Work that was left behind: asyncio would log its error if it were never retrieved.
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE_S)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done() or task.cancelled():
        raise TimeoutError
    return task.result()


async def _send_in_turn(engine: _Engine, request: httpx.Request, seconds: float) -> Reply:
    # The turn is waited for here and not in the pool, which loses a connection for good when the one that waits for
    # it gives up. It is given back also when the exchange is left behind, or the turns would run out.
    until = engine.loop.time() + seconds
    async with asyncio.timeout_at(until):
        await engine.turns.acquire()
    try:
        return await _run_with_deadline(until - engine.loop.time(), send_and_read(engine.client, request))
    finally:
        engine.turns.release()


async def send_and_read(client: httpx.AsyncClient, request: httpx.Request) -> Reply:
    """Send a request and read its whole answer, of at most `LARGEST_ANSWER` bytes."""
    response = await client.send(request, stream=True)
    try:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > LARGEST_ANSWER:
                raise httpx.ReadError("the answer is too large", request=request)
        return Reply(status=response.status_code, content=bytes(content))
    finally:
        await response.aclose()


class _Engine:
    """A running event loop with its HTTP client and the semaphore of its connections."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.pid = os.getpid()
        self.client = client
        self.turns = asyncio.Semaphore(CONNECTIONS)
        self.loop = asyncio.new_event_loop()
        # Who waits for room under a limit does so in a thread; too few of them would hold up all other services.
        self.loop.set_default_executor(ThreadPoolExecutor(WAITING, thread_name_prefix="services-waiting"))
        self._thread = threading.Thread(target=self.loop.run_forever, name="services-transport", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cancel the requests under way, so that their callers continue, and close the connections."""
        try:
            asyncio.run_coroutine_threadsafe(self._cancel_and_close(), self.loop).result(3 * _GRACE_S)
        except TimeoutError:
            _left_behind.append(self)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_GRACE_S)
        if not self._thread.is_alive():
            self.loop.close()

    async def _cancel_and_close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_GRACE_S)
        await self.client.aclose()
