"""The provider's circuit: one memory for all workers of when it may be called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from agentstate.errors import ProviderRateLimited, ProviderRefused, ProviderTransient
from agentstate.memory.embedding import provider_circuit as circuit
from agentstate.memory.embedding.provider_circuit import LONGEST_PAUSE_S, OPENS_AFTER, ProviderCircuit
from agentstate.store import Store
from agentstate.store.tables import provider_circuits
from agentstate.store.tables.base import db_time
from tests.integration.memory.test_pipeline import counts, remember
from tests.worlds.memories import World


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """The same durable store, as another process has it."""
    opened = Store.open(store.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def let_rest_end(store: Store) -> None:
    with store.transaction() as tx:
        tx.connection.execute(provider_circuits.update().values(open_until=db_time(-1)))


def test_after_some_failures_nobody_calls_and_then_one_tries(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "FIRST_PAUSE_S", 200.0)
    here, there = ProviderCircuit(store, "s"), ProviderCircuit(other, "s")
    rests = [here.record_failure("down") for _ in range(OPENS_AFTER)]
    assert rests == [0.0] * (OPENS_AFTER - 1) + [200.0]
    assert 0 < there.admit_call() <= 200
    let_rest_end(store)
    assert there.pause_s() == 0
    assert there.admit_call() == 0
    assert here.admit_call() > 0
    assert there.record_failure("still down") == LONGEST_PAUSE_S
    let_rest_end(store)
    assert here.admit_call() == 0
    here.record_success()
    assert (here.admit_call(), there.admit_call()) == (0, 0)


def test_a_rest_that_was_asked_for_is_taken_by_all(store: Store, other: Store) -> None:
    assert ProviderCircuit(store, "s").record_failure("slow down", pause_s=300) == 300
    assert 0 < ProviderCircuit(other, "s").admit_call() <= 300
    assert ProviderCircuit(other, "another").admit_call() == 0


def test_one_workers_rate_limit_rests_them_all_and_wakes_nobody_meanwhile(world: World) -> None:
    remember(world, 3)
    world.embedder.answers = [ProviderRateLimited("slow down", retry_after=300)]
    world.pipeline(embedding_batch=1).run_until_idle()
    second = world.pipeline(embedding_batch=1)
    assert second.run_until_idle().claimed == 0
    assert not second.has_due()
    assert len(world.embedder.calls) == 1


def test_a_provider_that_keeps_failing_is_left_alone(world: World) -> None:
    remember(world, 50)
    world.embedder.fails = lambda _texts: ProviderTransient("down")
    result = world.pipeline(embedding_batch=5).run_until_idle()
    assert len(world.embedder.calls) == OPENS_AFTER
    assert result.pause_s > 0
    with world.store.read_connection() as connection:
        assert connection.execute(sa.select(provider_circuits.c.error)).scalar_one() == "ProviderTransient: down"
    world.embedder.fails = lambda _texts: None
    world.make_due()
    assert world.pipeline(embedding_batch=5).run_until_idle().searchable == 50


def test_a_wrong_key_kills_one_batch_and_not_the_next(world: World) -> None:
    remember(world, 20)
    world.embedder.fails = lambda _texts: ProviderRefused("wrong key")
    for _ in range(3):
        world.pipeline(embedding_batch=5).run_until_idle()
    assert (counts(world).dead, counts(world).pending) == (5, 15)
