"""What the guide's semantic and hybrid memory get wrong, one test for each defect.

The number in a test's name is that of the defect that it shows not to happen.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from agentstate.guide import HybridMemory, SemanticMemory
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.index.qdrant_index import MemoryIndex
from tests.worlds.memories import World

pytestmark = pytest.mark.database("postgres")


@pytest.fixture
def hybrid(world: World) -> HybridMemory:
    return HybridMemory(world.memory)


def contents(hits: object) -> list[str]:
    return [hit.content for hit in hits]  # type: ignore[attr-defined]


@pytest.mark.guide_defect(117)
def test_recall_works_with_the_client_of_today(world: World) -> None:
    SemanticMemory(world.memory).store("a", "flat stakes beat martingale")
    world.pipeline().run_until_idle()
    assert contents(world.memory.of("a").recall("stakes")) == ["flat stakes beat martingale"]


@pytest.mark.guide_defect(118)
def test_ids_are_such_as_the_index_takes(world: World) -> None:
    memory = UUID(SemanticMemory(world.memory).store("a", "flat stakes beat martingale"))
    assert world.pipeline().run_until_idle().searchable == 1
    assert world.memory.of("a").recall("stakes")[0].id == memory


@pytest.mark.guide_defect(119)
def test_metadata_overrides_neither_agent_nor_content_nor_score(world: World) -> None:
    forged = {"agent_id": "victim", "content": "forged", "score": 9, "id": "0", "text": "forged"}
    SemanticMemory(world.memory).store("a", "paid the escrow", forged)
    world.pipeline().run_until_idle()
    assert world.memory.of("victim").recall("escrow") == []
    [hit] = world.memory.of("a").recall("escrow")
    assert (hit.content, hit.metadata, hit.score < 1) == ("paid the escrow", forged, True)
    assert world.memory.of("a").recall("forged") == []


@pytest.mark.guide_defect(120)
def test_a_retry_makes_no_second_memory(world: World) -> None:
    first = SemanticMemory(world.memory).store("a", "the house edge is 1 %")
    world.pipeline().run_until_idle()
    assert SemanticMemory(world.memory).store("a", "the house edge is 1 %") == first
    world.pipeline().run_until_idle()
    assert world.index.count_points("a") == 1


@pytest.mark.guide_defect(121)
def test_each_agent_searches_its_own_whoever_wrote_last(world: World, hybrid: HybridMemory) -> None:
    world.memory.remember_many([NewMemory(agent_id="a", content=f"gold rule {n}") for n in range(3)])
    world.memory.of("b").remember("gold is heavy")
    for _ in range(2):
        assert sorted(contents(hybrid.search("a", "gold"))) == [f"gold rule {n}" for n in range(3)]
        assert contents(hybrid.search("b", "gold")) == ["gold is heavy"]
        world.pipeline().run_until_idle()


@pytest.mark.guide_defect(122)
def test_no_match_gives_nothing(lexical_world: World) -> None:
    lexical_world.memory.of("a").remember("gold is heavy")
    for _ in range(2):
        assert lexical_world.memory.of("a").recall("umbrella") == []
        lexical_world.pipeline().run_until_idle()


@pytest.mark.guide_defect(123)
@pytest.mark.parametrize("query", ["", "  ", "?!", "the of and"])
def test_an_empty_query_gives_nothing_and_breaks_nothing(world: World, hybrid: HybridMemory, query: str) -> None:
    assert hybrid.search("a", query) == []
    world.memory.of("a").remember("gold is heavy")
    world.embedder.semantic = False
    assert hybrid.search("a", query) == []


@pytest.mark.guide_defect(124)
def test_an_insert_costs_the_same_however_much_is_there(world: World) -> None:
    world.memory.remember_many([NewMemory(agent_id="a", content=f"fact {n}") for n in range(500)])
    world.pipeline().run_until_idle()
    written: list[int] = []
    upsert = world.index.upsert_points
    world.index.upsert_points = lambda points, **options: (written.append(len(points)), upsert(points, **options))[1]  # type: ignore[method-assign,func-returns-value,assignment]
    world.memory.of("a").remember("one more")
    world.pipeline().run_until_idle()
    assert written == [1]


@pytest.mark.guide_defect(125)
def test_a_new_process_finds_what_others_wrote(world: World) -> None:
    world.memory.of("a").remember("gold is heavy")
    world.pipeline().run_until_idle()
    index = MemoryIndex(world.index.collections.client, world.embedder.space)
    fresh = MemoryService(world.store, world.jobs, index, world.embedder, world.settings)
    [hit] = fresh.of("a").recall("gold")
    assert "keyword" in hit.why.retrievers


@pytest.mark.guide_defect(126)
@pytest.mark.parametrize("written", ["use a stop-loss.", "use a (stop-loss)", "Stop-Loss: use it!"])
def test_marks_around_a_word_do_not_hide_it(world: World, written: str) -> None:
    world.memory.of("a").remember(written)
    for _ in range(2):
        assert contents(world.memory.of("a").recall("stop-loss")) == [written]
        world.pipeline().run_until_idle()


@pytest.mark.guide_defect(127)
def test_two_workers_make_one_collection_with_its_indexes_and_write_in_batches(world: World) -> None:
    world.memory.remember_many([NewMemory(agent_id="a", content=f"fact {n}") for n in range(40)])
    client = world.index.collections.client

    def work(_number: int) -> None:
        world.index = MemoryIndex(client, world.embedder.space)
        world.pipeline(embedding_batch=20).run_until_idle()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert world.index.count_points("a") == 40
    assert len(world.embedder.calls) <= 4
    tenant = client.get_collection(world.index.space).payload_schema["agent_id"].params
    assert tenant is not None
    assert tenant.is_tenant is True  # type: ignore[union-attr]
