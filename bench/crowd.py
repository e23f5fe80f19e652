"""One process of a load, for effects between processes: `python -m bench.crowd read|pass ...`.

`read` reads one state from many threads and prints how many were live; `pass` asks the rate limiter for as long as it
is told and prints when each request was let through (seconds of the clock that all processes of a machine share).
Both say `ready` and begin at a line on their standard input.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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

PATH = "POST /api/v1/casino/bet"
LISTENING_S = 0.25


@contextmanager
def start_processes(number: int, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start `number` processes and wait until they are ready; they are killed at the end of the block."""
    command = [sys.executable, "-m", "bench.crowd", *arguments]
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


if __name__ == "__main__":
    {"read": _read_state, "pass": _pass_limiter}[sys.argv[1]](*sys.argv[2:])
