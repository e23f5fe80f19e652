"""The embedding pipeline with a provider on loopback: calls, speed, and unsearchable memories after failures.

The reference is one provider call and one write to the index for each memory, one after the other, as a plain `store`
does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from uuid import uuid4

import sqlalchemy as sa

from agentstate.clock import utc_now
from agentstate.memory.facts.records import MemoryRecord, NewMemory
from agentstate.memory.index.points import make_points
from agentstate.memory.index.verify import IndexVerifier
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.tables import memories
from bench import provider as loopback
from bench.stack import BenchStack
from bench.timing import time_call
from deploy.local.stack.results import Row, at_least, at_most, equal_to

LATENCY_MS = 20.0
FAILS = 0.2
THREADS = 2
AGENTS = 100


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """Yield calls and throughput with a working provider, and the state of all memories with a failing one."""
    count, sample = bench.choose_size(10_000, 1_000), bench.choose_size(150, 30)
    with loopback.start_provider(latency_ms=LATENCY_MS) as url, closing(Runtime(settings_for(bench, url))) as runtime:
        one_by_one = [_measure_one_by_one(runtime, sample)]
        remember_many(runtime, count)
        before = loopback.fetch_counts(url)["calls"]
        took = time_call(lambda: _embed_until_done(runtime))
        calls = loopback.fetch_counts(url)["calls"] - before
        one_by_one.append(_measure_one_by_one(runtime, sample))
        left = _count_unsearchable(runtime)
    ours, reference = count / took, max(one_by_one)
    yield at_most(f"embedding: provider calls for {count:,} memories", calls, 40, "calls", "one each")
    yield Row("embedding: one call each", round(reference, 1), "memories/s", reference=f"{LATENCY_MS:g} ms a call")
    yield Row("embedding: the pipeline", round(ours, 1), "memories/s")
    yield at_least("embedding: throughput", round(ours / reference, 1), 20.0, "x", "one call and one write each")
    yield equal_to("embedding: memories not searchable", left, 0, "memories")
    yield from _measure_failing_provider(bench)


def settings_for(bench: BenchStack, url: str) -> Settings:
    """Return settings that use the provider at `url`, in a vector space of this run's own."""
    model = f"loopback-{uuid4().hex[:8]}"
    return bench.make_settings(embedder="openai", embedding_model=model, openai_base_url=f"{url}/v1")


def remember_many(runtime: Runtime, count: int, agents: int = AGENTS) -> None:
    """Remember `count` memories of `agents` agents, all durable at return."""
    items = [
        NewMemory(agent_id=f"agent-{n % agents}", content=f"In round {n} the stake was {n % 97}.50 USDC, heads")
        for n in range(count)
    ]
    for at in range(0, count, 2_000):
        runtime.memory.remember_many(items[at : at + 2_000])


def _measure_failing_provider(bench: BenchStack) -> Iterator[Row]:
    count = bench.choose_size(10_000, 1_000)
    logging.getLogger("agentstate").setLevel(logging.ERROR)  # it warns of every planned failure
    # Small batches: the point is many calls, each of which may fail.
    with loopback.start_provider(latency_ms=LATENCY_MS, fails=FAILS) as url:
        settings = settings_for(bench, url).model_copy(update={"embedding_batch": 32})
        with closing(Runtime(settings)) as runtime:
            # The embedder asks its provider once how wide its vectors are; that call may fail too.
            for _ in range(20):
                with suppress(Exception):  # as planned
                    _ = runtime.index
                    break
                time.sleep(0.05)
            remember_many(runtime, count)
            took = time_call(lambda: _embed_until_done(runtime))
            told = loopback.fetch_counts(url)
            left = _count_unsearchable(runtime)
            found = IndexVerifier(runtime.store, runtime.index).compare_all(repair=False)
    failed = told["calls"] - told["by_fault"].get("well", 0)
    reference = f"a provider that fails {FAILS:.0%}: 429, 500, resets, short and narrow answers"
    yield Row("embedding, failing provider: calls that failed", failed, "calls", reference=f"of {told['calls']}")
    yield Row("embedding, failing provider: throughput", round(count / took, 1), "memories/s")
    yield equal_to("embedding, failing provider: not searchable", left, 0, "memories", reference)
    yield equal_to("embedding, failing provider: points missing or wrong", found.missing + found.stale, 0, "memories")
    yield equal_to("embedding, failing provider: points too many", found.points - count, 0, "points")
    yield equal_to("embedding, failing provider: texts paid twice", told["twice"], 0, "texts")


def _embed_until_done(runtime: Runtime) -> None:
    """Work as the threads of a worker do, until nothing waits; rests and back-offs are waited for."""

    def work(_number: int) -> None:
        while _count_unsearchable(runtime):
            pause = runtime.embedding.run_until_idle().pause_s
            time.sleep(min(max(pause, 0.02), 1.0))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def _count_unsearchable(runtime: Runtime) -> int:
    with runtime.store.read_connection() as connection:
        query = sa.select(sa.func.count()).select_from(memories).where(memories.c.state != "searchable")
        return int(connection.execute(query).scalar_one())


def _measure_one_by_one(runtime: Runtime, count: int) -> float:
    """Memories a second, one provider call and one write each."""

    def store_all() -> None:
        for number in range(count):
            store(number)

    def store(number: int) -> None:
        text = f"{uuid4()} is no. {number}"
        [vector] = runtime.embedder.embed_documents([text])
        memory = MemoryRecord(id=uuid4(), seq=0, agent_id="plain", kind="fact", content=text, created_at=utc_now())
        runtime.index.upsert_points(make_points(memory, [text], [vector.tolist()]))

    return count / time_call(store_all)
