"""The embedding pipeline: one call a batch, fair, fenced, and nothing lost whatever fails."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from qdrant_client.http import models

from agentstate.errors import (
    IndexUnavailable,
    ProviderAnswerInvalid,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    StoreUnavailable,
)
from agentstate.memory.embedding import embed_texts as embedding
from agentstate.memory.embedding.queue import LIGHT, MAX_ATTEMPTS, EmbeddingBacklog
from agentstate.memory.embedding.worker import PART, REFUSED_PAUSE_S
from agentstate.memory.facts.counts import MemoryCounts, count_memories
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.store.tables import memories
from tests.worlds.memories import World


def remember(world: World, count: int, agent: str = "a") -> None:
    world.memory.remember_many([NewMemory(agent_id=agent, content=f"{agent} fact {n}") for n in range(count)])


def counts(world: World, agent: str = "a") -> MemoryCounts:
    with world.store.read_connection() as connection:
        return count_memories(connection, agent_id=agent)[0]


def column(world: World, name: str) -> list[object]:
    with world.store.read_connection() as connection:
        return list(connection.execute(sa.select(memories.c[name]).order_by(memories.c.seq)).scalars())


def test_a_batch_costs_one_call(world: World) -> None:
    remember(world, 70)
    result = world.pipeline(embedding_batch=32).run_until_idle()
    assert (result.claimed, result.searchable) == (70, 70)
    assert world.embedder.calls == [32, 32, 6]
    assert world.index.count_points("a") == 70
    assert counts(world) == MemoryCounts(agent_id="a", stored=70, searchable=70, pending=0, dead=0)


def test_a_flood_of_one_agent_does_not_delay_another(world: World) -> None:
    remember(world, 300, "flood")
    remember(world, 1, "quiet")
    world.pipeline(embedding_batch=16).run_once()
    assert counts(world, "quiet").searchable == 1
    assert counts(world, "flood").searchable == 15


def test_more_agents_than_a_batch_holds_all_have_their_turn(world: World) -> None:
    for n in range(10):
        remember(world, 3, f"agent-{n}")
    pipeline = world.pipeline(embedding_batch=4)
    for _ in range(3):
        pipeline.run_once()
    assert all(counts(world, f"agent-{n}").searchable >= 1 for n in range(10))


def test_a_transient_failure_is_tried_again_later(world: World) -> None:
    remember(world, 3)
    world.embedder.answers = [ProviderTransient("reset")]
    pipeline = world.pipeline()
    assert pipeline.run_until_idle().retried == 3
    assert not pipeline.has_due()
    assert set(column(world, "error")) == {"ProviderTransient: reset"}
    world.make_due()
    assert pipeline.run_until_idle().searchable == 3
    assert set(column(world, "error")) == {None}


def test_a_rate_limit_is_obeyed_and_costs_no_attempt(world: World) -> None:
    remember(world, 3)
    world.embedder.answers = [ProviderRateLimited("slow down", retry_after=300)]
    pipeline = world.pipeline(embedding_batch=2)
    result = pipeline.run_until_idle()
    assert (result.pause_s, len(world.embedder.calls)) == (300, 1)
    assert 0 < world.pipeline().run_once().pause_s <= 300
    assert not pipeline.has_due()
    assert len(world.embedder.calls) == 1
    assert column(world, "attempts") == [0, 0, 0]
    world.make_due()
    assert pipeline.run_until_idle().searchable == 3


def test_no_quota_ends_the_batch_and_is_not_hammered(world: World) -> None:
    remember(world, 300)
    world.embedder.fails = lambda _texts: ProviderRefused("no quota")
    pipeline = world.pipeline(embedding_batch=64)
    result = pipeline.run_until_idle()
    assert (result.dead, result.pause_s) == (64, REFUSED_PAUSE_S)
    assert world.embedder.calls == [64, 1]
    assert column(world, "error")[0] == "ProviderRefused: no quota"
    assert world.memory.of("a").recall("fact 7") != []
    world.embedder.fails = lambda _texts: None
    assert EmbeddingBacklog(world.store).revive_dead(agent_id="a") == 64
    world.make_due()
    assert pipeline.run_until_idle().searchable == 300


def test_one_bad_text_is_found_and_alone_given_up(world: World) -> None:
    remember(world, 32)
    world.embedder.fails = lambda texts: ProviderRefused("bad input") if "a fact 7" in texts else None
    result = world.pipeline().run_until_idle()
    assert (result.searchable, result.dead) == (31, 1)
    assert len(world.embedder.calls) < 20
    with world.store.read_connection() as connection:
        dead = connection.execute(sa.select(memories.c.content).where(memories.c.state == "dead")).scalars().all()
    assert dead == ["a fact 7"]


def test_a_text_that_breaks_the_answer_is_found_after_some_tries(world: World) -> None:
    remember(world, 8)
    world.embedder.fails = lambda texts: ProviderAnswerInvalid("short") if "a fact 7" in texts else None
    pipeline = world.pipeline()
    for _ in range(3):
        pipeline.run_until_idle()
        world.make_due()
    assert counts(world).searchable == 7
    for _ in range(MAX_ATTEMPTS):
        pipeline.run_until_idle()
        world.make_due()
    assert counts(world).dead == 1


def test_an_index_that_is_down_costs_no_attempt_and_no_second_call(unplugged: World) -> None:
    remember(unplugged, 3)
    assert unplugged.pipeline().run_until_idle().retried == 3
    assert column(unplugged, "attempts") == [0, 0, 0]
    assert column(unplugged, "state") == ["embedded"] * 3
    unplugged.make_due()
    assert unplugged.pipeline().run_until_idle().retried == 3
    assert unplugged.embedder.calls == [3]


def test_kept_vectors_reach_the_index_when_it_is_back(world: World) -> None:
    remember(world, 3)
    plugged = world.index
    with closing(open_qdrant("http://127.0.0.1:9")) as nowhere:
        world.index = MemoryIndex(nowhere, world.embedder.space)
        world.pipeline().run_until_idle()
    world.index = plugged
    world.make_due()
    assert world.pipeline().run_until_idle().searchable == 3
    assert world.embedder.calls == [3]
    assert set(world.memory.of("a").recall("fact 2")[0].why.retrievers) == {"dense", "keyword"}


def test_a_late_worker_changes_nothing(world: World) -> None:
    remember(world, 2)
    slow, quick = EmbeddingBacklog(world.store), EmbeddingBacklog(world.store)
    late = slow.claim_batch(10, lease_s=60)
    assert quick.claim_batch(10, lease_s=60).memories == []
    world.make_due()
    held = quick.claim_batch(10, lease_s=60)
    seqs = [memory.seq for memory in held.memories]
    assert len(seqs) == 2
    assert slow.mark_dead(late, seqs, error="late") == 0
    assert slow.mark_searchable(late, dict.fromkeys(seqs, 1), "elsewhere") == 0
    assert quick.mark_searchable(held, dict.fromkeys(seqs, 1), world.index.space) == 2


def test_a_worker_that_dies_each_time_uses_the_attempts_up(world: World) -> None:
    remember(world, 1)
    backlog = EmbeddingBacklog(world.store)
    for _ in range(MAX_ATTEMPTS):
        assert len(backlog.claim_batch(1, lease_s=60).memories) == 1
        world.make_due()
    last = backlog.claim_batch(1, lease_s=60)
    assert (last.memories, last.exhausted) == ([], 1)
    assert counts(world).dead == 1
    assert column(world, "error") == ["given up after 12 attempts: the worker died each time"]


def test_another_space_is_filled_on_request(world: World) -> None:
    remember(world, 2)
    world.pipeline().run_until_idle()
    backlog = EmbeddingBacklog(world.store)
    assert backlog.requeue_other_spaces(world.index.space) == 0
    assert backlog.requeue_other_spaces("memories-other") == 2
    assert counts(world).pending == 2


def test_stopping_ends_between_batches(world: World) -> None:
    remember(world, 4)
    assert world.pipeline(embedding_batch=2).run_until_idle(stop=lambda: True).claimed == 0


def test_calls_keep_the_providers_limit_of_tokens_and_equal_texts_are_sent_once(world: World) -> None:
    world.embedder.max_tokens_per_call = 40
    for agent in ("a", "b"):
        remember(world, 12, agent)
    world.memory.remember_many([NewMemory(agent_id=agent, content="the same for all") for agent in ("a", "b")])
    result = world.pipeline().run_until_idle()
    assert (result.searchable, sum(world.embedder.calls)) == (26, 25)
    assert 1 < result.provider_calls == len(world.embedder.calls) < 26


def test_what_one_call_gave_is_kept_when_the_next_fails(world: World) -> None:
    world.embedder.max_tokens_per_call = 40
    remember(world, 12)
    first = len(world.embedder.calls) + 1
    world.embedder.fails = lambda _texts: None if len(world.embedder.calls) == first else ProviderTransient("reset")
    result = world.pipeline().run_until_idle()
    assert result.searchable == world.embedder.calls[0]
    assert result.retried == 12 - world.embedder.calls[0]
    assert len(world.embedder.calls) == 2


def test_what_was_paid_for_is_kept_although_the_store_was_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(world, 3)
    keep, tries = EmbeddingBacklog.keep_vectors, iter([True, False])

    def keep_at_the_second_try(*arguments: Any) -> None:
        if next(tries):
            raise StoreUnavailable
        keep(*arguments)

    monkeypatch.setattr(EmbeddingBacklog, "keep_vectors", keep_at_the_second_try)
    monkeypatch.setattr(embedding, "KEEP_PAUSES_S", (0.01,))
    assert world.pipeline().run_until_idle().searchable == 3
    assert world.embedder.calls == [3]


def test_a_light_claim_takes_agents_with_few_alone(world: World) -> None:
    remember(world, LIGHT + 1, "flood")
    remember(world, LIGHT, "busy")
    remember(world, 1, "quiet")
    taken = Counter(
        memory.agent_id for memory in EmbeddingBacklog(world.store).claim_batch(99, lease_s=60, light=True).memories
    )
    assert taken == {"busy": LIGHT, "quiet": 1}


def test_one_agents_memory_does_not_wait_for_the_batch_of_anothers_flood(world: World) -> None:
    remember(world, 100, "flood")
    world.embedder.parallel = 1
    pipeline, begun, go_on = world.pipeline(), threading.Event(), threading.Event()

    def wait_in_the_flood(texts: Sequence[str]) -> None:
        if len(texts) > LIGHT:
            begun.set()
            assert go_on.wait(60)

    world.embedder.fails = wait_in_the_flood
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(pipeline.run_until_idle)
        assert begun.wait(60)
        remember(world, 1, "quiet")
        assert pipeline.run_until_idle().searchable == 1
        assert (counts(world, "quiet").searchable, counts(world, "flood").searchable) == (1, 0)
        go_on.set()
        assert flood.result(60).searchable == 100


def test_agents_with_little_are_written_first_and_an_index_that_fails_in_between_keeps_the_rest_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(world, 2 * PART, "flood")
    remember(world, 1, "quiet")
    upsert, written = MemoryIndex.upsert_points, list[int]()

    def upsert_once(index: MemoryIndex, points: Sequence[models.PointStruct]) -> None:
        if written:
            raise IndexUnavailable
        written.append(len(points))
        upsert(index, points)

    monkeypatch.setattr(MemoryIndex, "upsert_points", upsert_once)
    result = world.pipeline().run_until_idle()
    assert (result.searchable, result.retried, written) == (PART, PART + 1, [PART])
    assert counts(world, "quiet").searchable == 1
    assert len(world.embedder.calls) == 1
