"""One agent's flood and another agent's single memory: how long that one waits, on a real worker.

The reference is one queue: there it would wait until everything that was remembered before it is searchable, which is
measured in the same run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa

from agentstate.memory.facts.records import NewMemory
from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from agentstate.store.tables import memories
from bench import provider as loopback
from bench.groups.embedding import LATENCY_MS, settings_for
from bench.stack import BenchStack
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, equal_to
from deploy.local.stack.table import python_path

WITHIN_S = 2.0
BETTER = 20.0
PAUSE_S = 0.2
PATIENCE_S = 900.0


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The wait of single memories while a flood is taken in."""
    count = bench.choose_size(50_000, 2_000)
    with loopback.start_provider(latency_ms=LATENCY_MS) as url:
        settings = settings_for(bench, url)
        with closing(Runtime(settings)) as runtime:
            _ = runtime.index  # the provider has been asked how wide its vectors are
            with runtime.store.transaction() as tx:  # the workers see all of it at once
                items = [NewMemory(agent_id="flood", content=f"tick {n} of the flood") for n in range(count)]
                for at in range(0, count, 2_000):
                    runtime.memory.remember_many(items[at : at + 2_000], tx=tx)
            with _start_worker(settings):
                waits, queue_waits = _measure_waits(runtime)
            left = _count_waiting(runtime)
    p95 = statistics.quantiles(waits, n=20)[-1]
    ratio = statistics.median(queue_waits) / statistics.median(waits)
    met = p95 <= WITHIN_S or ratio >= BETTER
    told = f"{len(waits)} single memories during {count:,} of another agent"
    yield Row("flood: wait of a single memory, p50", round(statistics.median(waits), 3), "s", reference=told)
    bar = f"<= {WITHIN_S:g} s, or {BETTER:g} x"
    yield Row("flood: wait of a single memory, p95", round(p95, 3), "s", bar, "searchable, on a worker", met)
    yield Row("flood: in one queue, p50", round(statistics.median(queue_waits), 1), "s", reference="same run")
    yield Row("flood: better than one queue", round(ratio, 1), "x", f">= {BETTER:g}, or {WITHIN_S:g} s", "", met)
    yield equal_to("flood: memories not searchable", left, 0, "memories")


def _measure_waits(runtime: Runtime) -> tuple[list[float], list[float]]:
    """Return the wait of each single memory, and the wait it would have had in one queue."""
    asked: list[float] = []
    waits: list[float] = []
    deadline = time.monotonic() + PATIENCE_S
    while _count_waiting(runtime, "flood") and time.monotonic() < deadline:
        asked.append(time.monotonic())
        receipt = runtime.memory.of(f"quiet-{len(asked) % 5}").remember(f"single memory no. {len(asked)}")
        runtime.memory.wait_searchable([receipt], timeout_s=PATIENCE_S)
        waits.append(time.monotonic() - asked[-1])
        time.sleep(PAUSE_S)
    done = time.monotonic()
    return waits, [done - at for at in asked]


def _count_waiting(runtime: Runtime, agent_id: str | None = None) -> int:
    query = sa.select(sa.func.count()).select_from(memories).where(memories.c.state != "searchable")
    with runtime.store.read_connection() as connection:
        return int(
            connection.execute(query if agent_id is None else query.where(memories.c.agent_id == agent_id)).scalar_one()
        )


@contextmanager
def _start_worker(settings: Settings) -> Iterator[None]:
    """A worker process as the one-machine stack starts it, and a sweep's wake-up to begin with."""
    shown = {name: getattr(value, "get_secret_value", lambda value=value: value)() for name, value in settings}
    env = {PREFIX + name.upper(): str(value) for name, value in shown.items() if value is not None}
    command = [sys.executable, "-m", "workers", "worker", "--queues", "embedding", "--pool", "threads"]
    with subprocess.Popen(  # noqa: S603 our own program
        [*command, "--concurrency", "8", "--name", "bench"],
        cwd=ROOT,
        env={**os.environ, **env, "PYTHONPATH": python_path(None)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
