"""Load from several processes, and the upstream service that they read: `python -m bench.load read|pass ...`.

`read` reads one state from many threads and prints how many were live; `pass` asks the rate limiter for as long as it
is told and prints when each request was let through (seconds of the clock that all processes of a machine share).
Both print `ready` and begin at a line on their standard input.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr
from redis import BlockingConnectionPool, Redis

from agentstate.errors import ServiceRejected
from agentstate.runtime import REDIS_CONNECTIONS
from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.limiter import RateLimiter
from deploy.local.stack.folder import ROOT
from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

PATH = "POST /api/v1/casino/bet"
LISTENING_S = 0.25


@contextmanager
def start_processes(number: int, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start `number` processes and wait until they are ready; they are killed at the end of the block."""
    command = [sys.executable, "-m", "bench.load", *arguments]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 a command of ours
        for _ in range(number)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def start_together(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Let them begin."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def read_answers(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Return the last line that each process printed."""
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append(process.stdout.readline().strip())
    return found


def _wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _read_state(redis_url: str, api_url: str, agent_id: str, threads: str) -> None:
    gateway = Gateway(api_url, SecretStr("pf_test_bench"), deadline_s=60)
    connections = BlockingConnectionPool.from_url(redis_url, max_connections=REDIS_CONNECTIONS, timeout=60)
    cache = StateCache(GatewaySource(gateway), Redis(connection_pool=connections))
    count, gate = int(threads), threading.Event()

    def read(_: int) -> bool:
        gate.wait()
        return cache.get(agent_id, "casino").quality is Quality.LIVE

    with ThreadPoolExecutor(count) as pool:
        reading = [pool.submit(read, number) for number in range(count)]
        _wait_for_start()
        gate.set()
        print(sum(future.result() for future in reading), flush=True)


def _pass_limiter(redis_url: str, limit: str, window_s: str, lasts_s: str) -> None:
    limiter = RateLimiter(Redis.from_url(redis_url), limits={PATH: int(limit)}, window_s=float(window_s))
    _wait_for_start()
    passed, until = [], time.monotonic() + float(lasts_s)
    while time.monotonic() < until:
        try:
            limiter.acquire(PATH, wait_s=LISTENING_S)
            passed.append(time.monotonic())
        except ServiceRejected:
            continue
    print(" ".join(map(str, passed)), flush=True)


class Upstream(LoopbackServer):
    """The service; `asked` counts, `delay_s` is how long each answer takes."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked = 0
        self.delay_s = 0.0
        self.arrived = threading.Semaphore(0)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{super().url}/api/v1"


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.stub.asked += 1
        self.stub.arrived.release()
        time.sleep(self.stub.delay_s)
        agent = parse_qs(urlsplit(self.path).query)["agent_id"][0]
        self.send_answer(200, STATE.replace(b"AGENT", agent.encode()))


STATE = (
    b'{"agent_id":"AGENT","balance_usd":100.099,"tier":"silver","risk_factor":0.5,"lifetime":{"total_deposited":250.0,'
    b'"total_withdrawn":20.5,"total_wagered":1234.56,"total_won":1180.25,"net_profit":-54.31},"recent_activity":['
    + b",".join(
        b'{"type":"debit","amount":2.5,"balance_after":%d.099,"reason":"reservation","at":"2026-08-01T10:00:00Z"}' % n
        for n in range(10)
    )
    + b"]}"
)
"""A casino's state with its ten newest movements, 1.2 KB."""


if __name__ == "__main__":
    {"read": _read_state, "pass": _pass_limiter}[sys.argv[1]](*sys.argv[2:])
