"""The pool of connections: what is given up in the middle is given back, whatever it was waiting for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from agentstate.services.http.transport import CONNECTIONS, AnswerLost, NotSent, Reply, Transport, send_and_read
from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

MANY = 4 * CONNECTIONS
HASTY_S, PATIENT_S = 0.5, 60.0


class Slow(LoopbackServer):
    """A server that answers when it is let."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.open, self.arrived, self.asked = threading.Event(), threading.Semaphore(0), 0

    def release_waiting(self) -> None:
        self.open.set()


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.stub.asked += 1
        self.stub.arrived.release()
        self.stub.open.wait(60)
        self.send_answer(200, b"{}")


@pytest.fixture
def slow() -> Iterator[Slow]:
    with Slow() as running:
        yield running


@pytest.fixture
def transport(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    # Each limit is tested alone: that of a whole work, and its grace, only where they are meant.
    monkeypatch.setattr("agentstate.services.http.transport.WORK_DEADLINES", PATIENT_S / HASTY_S)
    monkeypatch.setattr("agentstate.services.http.transport._GRACE_S", 0.1)
    transport = Transport([slow.url], deadline_s=PATIENT_S)
    yield transport
    transport.close()


async def ask(transport: Transport, url: str) -> str:
    try:
        reply: Reply = await transport.send_request(transport.build_request("GET", url))
    except NotSent:
        return "not sent"
    except AnswerLost:
        return "lost"
    return str(reply.status)


async def crowd(transport: Transport, url: str, count: int) -> list[str]:
    return list(await asyncio.gather(*(ask(transport, url) for _ in range(count))))


def test_a_crowd_that_gives_up_leaves_the_pool_whole(slow: Slow, transport: Transport) -> None:
    transport.deadline_s = HASTY_S
    for _ in range(3):
        came = transport.run_work(crowd(transport, slow.url, MANY))
        assert set(came) <= {"not sent", "lost"}
    transport.deadline_s = PATIENT_S
    slow.open.set()
    assert transport.run_work(crowd(transport, slow.url, CONNECTIONS)) == ["200"] * CONNECTIONS


def test_callers_that_are_cancelled_leave_the_pool_whole(slow: Slow, transport: Transport) -> None:
    async def cancelled() -> None:
        tasks = [asyncio.create_task(ask(transport, slow.url)) for _ in range(MANY)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for _ in range(3):
        transport.run_work(cancelled())
    slow.open.set()
    assert transport.run_work(crowd(transport, slow.url, CONNECTIONS)) == ["200"] * CONNECTIONS


def test_nobody_there_is_not_sent(transport: Transport) -> None:
    with pytest.raises(NotSent, match="ConnectError"):
        transport.run_work(transport.send_request(httpx.Request("GET", "http://127.0.0.1:9/")))
    began = time.monotonic()
    transport.close()
    assert time.monotonic() - began < 30


def test_a_cancellation_that_is_swallowed_holds_up_no_caller(
    slow: Slow, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, transport.deadline_s = threading.Event(), HASTY_S

    async def deaf(*_given: object) -> Reply:
        while not let_go.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return Reply(status=200, content=b"")

    monkeypatch.setattr("agentstate.services.http.transport.send_and_read", deaf)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(transport.run_work, transport.send_request(transport.build_request("GET", slow.url)))
        try:
            with pytest.raises(NotSent):
                asked.result(timeout=30)
        finally:
            let_go.set()


def test_what_was_told_as_not_sent_is_not_sent_later(
    slow: Slow, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.deadline_s, slow_to_end = HASTY_S, asyncio.Event()
    really, held_back = send_and_read, asyncio.Event()

    async def late(*given: Any) -> Reply:
        try:
            await asyncio.sleep(PATIENT_S)
        except asyncio.CancelledError:
            await slow_to_end.wait()
        try:
            return await really(*given)
        except TimeoutError:
            held_back.set()
            raise

    async def all_ended() -> None:
        slow_to_end.set()
        await held_back.wait()

    slow.open.set()
    monkeypatch.setattr("agentstate.services.http.transport.send_and_read", late)
    assert transport.run_work(ask(transport, slow.url)) == "not sent"
    transport.run_work(all_ended())
    assert slow.asked == 0


def test_a_loop_that_stands_still_holds_up_no_caller(
    slow: Slow, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentstate.services.http.transport.WORK_DEADLINES", 1.0)
    transport.deadline_s, go_on = HASTY_S, threading.Event()

    async def standing() -> None:
        go_on.wait(60)

    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(transport.run_work, standing())
        try:
            with pytest.raises(AnswerLost, match="Timeout"):
                asked.result(timeout=30)
        finally:
            go_on.set()


def test_work_of_many_exchanges_ends_within_a_time_of_its_own(
    slow: Slow, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentstate.services.http.transport.WORK_DEADLINES", 1.5)
    transport.deadline_s = HASTY_S

    async def chatty() -> None:
        while True:
            await ask(transport, slow.url)

    with pytest.raises(AnswerLost, match="Timeout"):
        transport.run_work(chatty())


def test_who_is_under_way_when_the_pool_is_closed_goes_on_at_once(slow: Slow, transport: Transport) -> None:
    with ThreadPoolExecutor(2) as callers:
        asked = [callers.submit(transport.run_work, ask(transport, slow.url)) for _ in range(2)]
        for _ in asked:
            assert slow.arrived.acquire(timeout=30)
        transport.close()
        for one in asked:
            with pytest.raises(AnswerLost, match="Closed"):
                one.result(timeout=30)


def test_turns_come_back_from_exchanges_that_are_left_behind(
    slow: Slow, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()

    async def deaf(*_given: object) -> Reply:
        while not stuck.is_set():
            try:
                await stuck.wait()
            except asyncio.CancelledError:
                continue
        return Reply(status=200, content=b"")

    async def all_let_go() -> None:
        stuck.set()

    transport.deadline_s = HASTY_S
    with monkeypatch.context() as patch:
        patch.setattr("agentstate.services.http.transport.send_and_read", deaf)
        assert transport.run_work(crowd(transport, slow.url, CONNECTIONS)) == ["not sent"] * CONNECTIONS
    transport.deadline_s = PATIENT_S
    slow.open.set()
    try:
        assert transport.run_work(crowd(transport, slow.url, CONNECTIONS)) == ["200"] * CONNECTIONS
    finally:
        transport.run_work(all_let_go())
