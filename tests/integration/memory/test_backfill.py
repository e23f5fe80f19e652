"""Filling an index by the provider's batch API: handed in once, applied once, and what it leaves out is embedded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentstate.errors import ProviderRefused
from agentstate.memory.embedding.batch_backfill import Backfill
from agentstate.memory.embedding.embed_texts import MemoryEmbedder
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.rebuild import IndexBuilder
from agentstate.providers.embedding.openai_batches import OpenAIBatches
from agentstate.providers.embedding.openai_embedder import OpenAIEmbedder
from tests.integration.memory.test_pipeline import remember
from tests.stubs.provider_server import ProviderServer
from tests.worlds.memories import World

pytestmark = pytest.mark.database("postgres")


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def embedder(provider: ProviderServer, world: World) -> Iterator[OpenAIEmbedder]:
    made = OpenAIEmbedder(model=world.index.space, base_url=f"{provider.url}/v1")
    yield made
    made.close()


def backfill(world: World, embedder: OpenAIEmbedder, **options: Any) -> Backfill:
    space = embedder.space.collection
    memory = MemoryEmbedder(EmbeddingBacklog(world.store), embedder, space, max_inputs=8)
    return Backfill(world.store, memory, OpenAIBatches(embedder), space, pause=lambda _s: None, **options)


def direct_texts(provider: ProviderServer) -> int:
    return sum(len(seen.body["input"]) for seen in provider.seen if seen.body["input"] != ["width"])


def test_all_vectors_come_by_batches_and_none_directly(
    world: World, embedder: OpenAIEmbedder, provider: ProviderServer
) -> None:
    remember(world, 10)
    remember(world, 1, "b")
    assert backfill(world, embedder, most_texts=4).run_batches() == 11
    assert len(provider.batch_api.batches) == 3
    assert backfill(world, embedder).run_batches() == 0
    index = MemoryIndex(world.index.collections.client, embedder.space)
    settings = world.settings.model_copy(update={"embedding_backfill": "batch"})
    build, found = IndexBuilder(world.store, index, embedder, settings, pause=lambda _s: None).run_build()
    assert (build.written, found.is_sound, direct_texts(provider)) == (11, True, 0)
    index.collections.drop_collection(build.collection)


def test_a_batch_whose_answer_was_lost_is_found_and_not_paid_twice(
    world: World, embedder: OpenAIEmbedder, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(world, 3)
    submit = OpenAIBatches.submit_batch

    def submit_and_die(*arguments: Any) -> None:
        submit(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(OpenAIBatches, "submit_batch", submit_and_die)
        with pytest.raises(KeyboardInterrupt):
            backfill(world, embedder).run_batches()
    assert backfill(world, embedder).run_batches() == 3
    assert len(provider.batch_api.batches) == 1


def test_what_a_batch_leaves_out_is_embedded_directly(
    world: World, embedder: OpenAIEmbedder, provider: ProviderServer
) -> None:
    remember(world, 5)
    provider.batch_api.spoils = lambda text: text == "a fact 2"
    index = MemoryIndex(world.index.collections.client, embedder.space)
    settings = world.settings.model_copy(update={"embedding_backfill": "batch"})
    build, found = IndexBuilder(world.store, index, embedder, settings, pause=lambda _s: None).run_build()
    assert (build.written, found.is_sound, direct_texts(provider)) == (5, True, 1)
    index.collections.drop_collection(build.collection)


def test_a_batch_that_fails_is_told_and_the_next_run_hands_in_anew(
    world: World, embedder: OpenAIEmbedder, provider: ProviderServer
) -> None:
    remember(world, 3)
    provider.batch_api.ends_as = "failed"
    with pytest.raises(ProviderRefused, match="ended batch batch_2 as failed"):
        backfill(world, embedder).run_batches()
    provider.batch_api.ends_as = "completed"
    assert backfill(world, embedder).run_batches() == 3


def test_what_was_forgotten_meanwhile_gets_no_vector(world: World, embedder: OpenAIEmbedder) -> None:
    remember(world, 3)
    filling = backfill(world, embedder)
    filling._plan_batches()
    world.memory.of("a").forget_all()
    assert filling.run_batches() == 0
