"""Shared namespaces: by an offer and a yes, named in every call, and nothing for whoever is left out."""

from __future__ import annotations

import pytest

from agentstate.errors import Conflict, InvalidInput, NotFound
from agentstate.memory.search.hits import Recall
from tests.worlds.memories import World

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def shared(world: World) -> World:
    world.memory.of("boss").namespaces.create("desk")
    world.memory.of("boss").remember("The desk trades gold on Fridays", namespace="desk")
    world.memory.of("boss").remember("My own view on gold is grim")
    world.pipeline().run_until_idle()
    return world


def recall(world: World, agent: str, *namespaces: str) -> Recall:
    return world.memory.of(agent).recall("gold", namespaces=namespaces)


def test_it_takes_both_sides_and_the_name_in_the_call(shared: World) -> None:
    boss, b = (shared.memory.of(name).namespaces for name in ("boss", "b"))
    with pytest.raises(NotFound):
        recall(shared, "b", "desk")
    with pytest.raises(NotFound):
        b.accept("desk")
    boss.offer("desk", "b")
    with pytest.raises(NotFound):
        recall(shared, "b", "desk")
    b.accept("desk")
    assert [hit.content for hit in recall(shared, "b", "desk")] == ["The desk trades gold on Fridays"]
    assert recall(shared, "b") == []
    assert len(recall(shared, "boss", "desk")) == 2
    assert len(recall(shared, "boss")) == 1


def test_a_reader_does_not_write_and_a_writer_is_named(shared: World) -> None:
    boss, b = (shared.memory.of(name).namespaces for name in ("boss", "b"))
    boss.offer("desk", "b")
    b.accept("desk")
    with pytest.raises(NotFound):
        shared.memory.of("b").remember("gold fell", namespace="desk")
    boss.offer("desk", "b", role="writer")
    receipt = shared.memory.of("b").remember("gold fell", namespace="desk")
    found = shared.memory.of("boss").find(receipt.id, namespaces=["desk"])
    assert found is not None
    assert (found.author, found.agent_id) == ("b", "/desk")
    assert shared.memory.of("b").find(receipt.id) is None


def test_it_ends_when_one_side_says_so(shared: World) -> None:
    boss, b, stranger = (shared.memory.of(name).namespaces for name in ("boss", "b", "stranger"))
    for end in (lambda: boss.withdraw("desk", "b"), lambda: b.leave("desk")):
        boss.offer("desk", "b")
        b.accept("desk")
        assert [share.agent_id for share in b.list()] == ["b"]
        with pytest.raises(NotFound):
            stranger.withdraw("desk", "b")
        end()
        with pytest.raises(NotFound):
            recall(shared, "b", "desk")


def test_a_name_has_one_owner_and_is_no_agents(shared: World) -> None:
    boss, b = (shared.memory.of(name).namespaces for name in ("boss", "b"))
    boss.create("desk")
    with pytest.raises(Conflict):
        b.create("desk")
    with pytest.raises(NotFound):
        b.offer("desk", "c")
    with pytest.raises(InvalidInput):
        boss.offer("desk", "c", role="king")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        boss.create("n" * 128)
    with pytest.raises(InvalidInput):
        shared.memory.of("/desk").recall("gold")
    with pytest.raises(InvalidInput):
        shared.memory.of("/desk").remember("gold")


def test_forgetting_in_a_namespace_asks_for_a_writer(shared: World) -> None:
    receipt = shared.memory.of("boss").remember("gold is heavy", namespace="desk")
    with pytest.raises(NotFound):
        shared.memory.of("b").forget(receipt.id, namespace="desk")
    assert shared.memory.of("boss").forget(receipt.id, namespace="desk").complete
