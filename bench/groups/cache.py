"""The state cache: upstream calls under load, the cost of a warm read, and a shared rate limit."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial

from pydantic import SecretStr
from redis import Redis

from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations.names import Service
from agentstate.store import Store
from agentstate.store.counters import Counters
from bench.load import STATE, Upstream, read_answers, start_processes, start_together
from bench.stack import BenchStack
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_least, at_most, equal_to

PROCESSES = 4
MOST_RATIO = 1.5
LIMIT, WINDOW_S, MARGIN_S = 120, 3.0, 1.0
"""A service that takes 120 requests in 3 s, and a limiter whose window is a second longer, as it is for 60 s."""

_agents = (f"ag_{number}" for number in itertools.count(1))


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The rows of this group."""
    redis_url = bench.stack.env["AGENTSTATE_REDIS_URL"]
    with Upstream() as upstream:
        # Readers in several processes come at once upon an entry that is out of date.
        readers, agent = bench.choose_size(1_000, 40), next(_agents)
        upstream.delay_s, upstream.asked = 0.5, 0
        with start_processes(PROCESSES, "read", redis_url, upstream.url, agent, str(readers // PROCESSES)) as processes:
            start_together(processes)
            live = sum(map(int, read_answers(processes)))
        name = f"cache: upstream calls, {readers:,} readers, {PROCESSES} processes"
        yield equal_to(name, upstream.asked, 1, reference="guide's cache: one each")
        yield equal_to("cache: readers that got a live answer", live, readers)
        yield from _measure_after_kill(bench, redis_url, upstream)
        yield from _measure_warm_reads(bench, redis_url, upstream)
    yield from _measure_shared_limit(bench, redis_url)


def _measure_after_kill(bench: BenchStack, redis_url: str, upstream: Upstream) -> Iterator[Row]:
    """The same, but the process that asks is killed while it does."""
    readers, agent = bench.choose_size(999, 39), next(_agents)
    with (
        start_processes(1, "read", redis_url, upstream.url, agent, "1") as first,
        start_processes(3, "read", redis_url, upstream.url, agent, str(readers // 3)) as others,
    ):
        upstream.delay_s, upstream.asked, upstream.arrived = 1.0, 0, type(upstream.arrived)(0)
        start_together(first)
        upstream.arrived.acquire(timeout=30)
        first[0].kill()
        start_together(others)
        live = sum(map(int, read_answers(others)))
    upstream.delay_s = 0.0
    yield equal_to("cache: calls by the others after the asking process was killed", upstream.asked - 1, 1)
    yield equal_to("cache: of them got a live answer", live, readers)


def _measure_warm_reads(bench: BenchStack, redis_url: str, upstream: Upstream) -> Iterator[Row]:
    agent, store = next(_agents), Store.open(bench.make_postgres())
    counters = Counters(lambda: store)
    gateway = Gateway(upstream.url, SecretStr("pf_test_bench"))
    with Redis.from_url(redis_url) as bare, Redis.from_url(redis_url) as ours:
        # With its reads counted, as an agent's own cache is.
        count, ttl_s = partial(counters.add_count, "state_reads"), dict.fromkeys(Service, 86_400.0)
        cache = StateCache(GatewaySource(gateway), ours, ttl_s=ttl_s, count=count)
        cache.get(agent, "casino")
        (name,) = bare.keys(f"as:{{{agent}}}:state:*:casino")
        found = compare_calls(
            lambda: cache.get(agent, "casino").state,
            lambda: bare.get(name),
            rounds=bench.choose_size(30, 3),
            calls=200,
        )
    gateway.close()
    counters.close()
    store.close()
    reference = f"bare GET of the same {len(STATE):,} bytes: {found.reference_s * 1e6:.0f} us"
    yield at_most("cache: warm read with its state, p50", round(found.ratio, 2), MOST_RATIO, "x", reference)
    bare = f"bare GET: {1 / found.reference_s:,.0f}"
    yield Row("cache: warm reads a second, one thread", round(1 / found.ours_s), "1/s", "", bare)


def _measure_shared_limit(bench: BenchStack, redis_url: str) -> Iterator[Row]:
    lasts_s = bench.choose_size(20, 5)
    with start_processes(3, "pass", redis_url, str(LIMIT), str(WINDOW_S + MARGIN_S), str(lasts_s)) as processes:
        start_together(processes)
        times = sorted(float(moment) for line in read_answers(processes) for moment in line.split())
    most = max(bisect_right(times, begin + WINDOW_S) - number for number, begin in enumerate(times))
    name = f"cache: most calls in any {WINDOW_S:g} s, 3 processes"
    yield at_most(name, most, LIMIT, "calls", f"limit {LIMIT} in {WINDOW_S:g} s")
    rate, allowed = len(times) / lasts_s, LIMIT / (WINDOW_S + MARGIN_S)
    name, most_rate = "cache: calls a second under a shared limit, 3 processes", LIMIT / WINDOW_S
    yield Row(name, round(rate, 1), "1/s", "", f"limit {most_rate:g}")
    yield at_least("cache: of what the limiter's window allows, used", round(rate / allowed, 2), 0.9, "x")
