"""A memory that is being indexed is found by every recall, whatever happens between its reads."""

from __future__ import annotations

from typing import Any

import pytest

from agentstate.memory.index.qdrant_index import MemoryIndex
from tests.worlds.memories import World

FACT = "Escrow 0xab12cd pays 1,234.50 on Friday"


@pytest.mark.parametrize("semantic", [True, False])
@pytest.mark.parametrize("moment", ["before the index is asked", "after the index has answered"])
def test_a_memory_that_is_indexed_between_the_two_reads_is_found_once(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str, semantic: bool
) -> None:
    world.embedder.semantic = semantic
    world.memory.of("a").remember(FACT)
    search, indexed = MemoryIndex.search, list[int]()

    def search_with_pause(index: MemoryIndex, *arguments: Any, **options: Any) -> Any:
        if moment.startswith("before"):
            indexed.append(world.pipeline().run_until_idle().searchable)
        answer = search(index, *arguments, **options)
        if moment.startswith("after"):
            indexed.append(world.pipeline().run_until_idle().searchable)
        return answer

    monkeypatch.setattr(MemoryIndex, "search", search_with_pause)
    for query in ("escrow on Friday", "0xab12cd", "1234.50"):
        assert [hit.content for hit in world.memory.of("a").recall(query)] == [FACT]
    assert sum(indexed) == 1


def test_a_memory_that_is_forgotten_between_the_two_reads_is_not_given(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = world.memory.of("a")
    receipt = memory.remember(FACT)
    search = MemoryIndex.search

    def search_after_forgetting(index: MemoryIndex, *arguments: Any, **options: Any) -> Any:
        memory.forget(receipt.id)
        return search(index, *arguments, **options)

    monkeypatch.setattr(MemoryIndex, "search", search_after_forgetting)
    world.embedder.semantic = False
    assert world.memory.of("a").recall("escrow") == []
