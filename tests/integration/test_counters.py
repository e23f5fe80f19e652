"""Counters: what processes add up in memory is in the fleet's metrics, exactly, and nobody waits for the store."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from agentstate.agent import Fleet
from agentstate.errors import StoreUnavailable
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.services.operations.names import Service
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.counters import Counters
from tests.integration.test_metrics import Samples, read
from tests.stubs.provider_server import Fault, ProviderServer
from tests.worlds.waiting import until

MODEL = "openai-compatible:counted"
WIDTH = 16


def embeddings(found: Samples) -> dict[str, float]:
    name = "agentstate_embedding_{}_total"
    return {part: found.get((name.format(part), (MODEL,)), 0) for part in ("calls", "failures", "texts", "tokens")}


def reads(found: Samples) -> dict[tuple[str, ...], float]:
    return {labels: value for (name, labels), value in found.items() if name == "agentstate_state_reads_total"}


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(WIDTH) as running:
        yield running


@pytest.fixture
def runtime(settings: Settings, sandbox: Any, provider: ProviderServer) -> Iterator[Runtime]:
    paid = {"embedder": "openai", "openai_base_url": f"{provider.url}/v1", "embedding_model": "counted"}
    services = {"services_url": sandbox.api, "services_api_key": SecretStr("pf_test_sandbox")}
    opened = Runtime(settings.model_copy(update={**paid, **services}))
    yield opened
    for name in opened.index.collections.list_generations():
        opened.index.collections.drop_collection(name)
    opened.close()


def test_a_providers_calls_texts_and_tokens_are_counted_failures_too(
    runtime: Runtime, provider: ProviderServer
) -> None:
    memory = Fleet(runtime).agent("ag_1").memory
    memory.remember("Flat stakes beat martingale")
    memory.remember("Gas is cheap on Sundays")
    assert runtime.embedding.run_until_idle().searchable == 2
    memory.recall("when are fees low?")
    provider.plan(Fault("status", 500), "zero")
    for _ in range(2):
        memory.recall("what beats martingale?")
    runtime.counters.flush_counts()
    # One call asks how wide the vectors are. Of the answer of zeros nothing is used, but it was paid.
    assert embeddings(read(runtime.store)) == {"calls": 5, "failures": 2, "texts": 4, "tokens": 5}


def test_reads_of_the_cache_are_counted_by_what_they_came_to(runtime: Runtime, sandbox: Any) -> None:
    agent = Fleet(runtime).agent("ag_tallied")
    agent.effects.execute_once("register", casino.register())
    for _ in range(3):
        agent.services.read("casino")
    agent.services.read("casino", force_refresh=True)
    assert agent.services.portfolio().legs
    sandbox.client.set_faults(
        {"fault": "html_502", "service": "wallet", "operation": "state", "agent_id": "ag_tallied"}
    )
    runtime.cache.invalidate("ag_tallied", "wallet")
    runtime.cache.get("ag_tallied", "wallet")
    sandbox.client.set_faults()
    runtime.counters.flush_counts()
    found = reads(read(runtime.store))
    assert {part: found.pop(("casino", part)) for part in ("miss", "hit", "refresh")} == {
        "miss": 1, "hit": 3, "refresh": 1,
    }  # fmt: skip
    assert found.pop(("wallet", "unknown")) == 1
    assert found == {(str(service), "miss"): 1 for service in Service if service != "casino"}


def test_what_threads_and_processes_count_adds_up_exactly(store: Store) -> None:
    processes = [Counters(lambda: store), Counters(lambda: store)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(
                lambda one: [one.add_count("state_reads", "casino", "hit") for _ in range(500)], processes[number % 2]
            )
    for one in processes:
        one.add_count("state_reads", "wallet", "miss", 2)
        one.close()
        one.close()
    assert reads(read(store)) == {("casino", "hit"): 4_000, ("wallet", "miss"): 4}


def test_they_are_written_now_and_then_and_kept_while_the_store_is_away(store: Store) -> None:
    tries = []

    def sometimes() -> Store:
        tries.append(1)
        if len(tries) < 3:
            raise StoreUnavailable("away")
        return store

    tallies = Counters(sometimes, every_s=0.01)
    tallies.add_count("state_reads", "casino", "hit", 7)
    until(lambda: reads(read(store)))
    tallies.close()
    assert reads(read(store)) == {("casino", "hit"): 7}


def test_a_runtime_ends_while_its_tallies_are_being_written(settings: Settings) -> None:
    def lived(_number: int) -> None:
        runtime = Runtime(settings)
        runtime.once("tallies", lambda: Counters(lambda: runtime.store, every_s=0.0001))
        runtime.counters.add_count("state_reads", "casino", "hit")
        runtime.close()

    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(lived, range(20)))) == 20
    store = Store.open(settings.database_url)
    assert reads(read(store)) == {("casino", "hit"): 20}
    store.close()
