"""The index built anew: beside the one that is searched, resumed where it was cut short, and complete."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import Conflict, ProviderRateLimited, ProviderRefused, ProviderTransient
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.rebuild import TRIES, IndexBuilder
from agentstate.memory.index.verify import IndexVerifier
from agentstate.store.tables import memories
from tests.integration.memory.test_chunks import LONG
from tests.integration.memory.test_pipeline import counts, remember
from tests.worlds.memories import HashedWords, Space, World

pytestmark = pytest.mark.database("postgres")


@pytest.fixture
def filled(world: World) -> World:
    remember(world, 10)
    world.memory.of("a").remember(LONG)
    world.pipeline().run_until_idle()
    return world


class Pauses(list[float]):
    """Waits that are noted and not taken."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def builder(world: World, *, embedder: HashedWords | None = None, **options: Any) -> IndexBuilder:
    index = world.index if embedder is None else target(world, embedder)
    settings = world.settings.model_copy(update={"embedding_batch": 4})
    return IndexBuilder(world.store, index, embedder or world.embedder, settings, **options)


def target(world: World, embedder: HashedWords) -> MemoryIndex:
    return MemoryIndex(world.index.collections.client, embedder.space)


@pytest.fixture
def wider(world: World) -> Any:
    embedder = HashedWords(Space(f"{world.index.space}-wide", dimensions=128))
    yield embedder
    place = target(world, embedder).collections
    for name in place.list_generations():
        place.drop_collection(name)


def test_a_rebuild_takes_the_place_of_the_old_one_and_pays_nothing(filled: World) -> None:
    calls, points = len(filled.embedder.calls), filled.index.count_points("a")
    steps: list[int] = []
    build, found = builder(filled).run_build(lambda build: steps.append(build.written))
    assert (build.written, build.total, steps) == (11, 11, [0, 4, 8, 11])
    assert found.is_sound
    assert filled.index.collections.list_generations() == [build.collection] == [f"{filled.index.space}--2"]
    assert (filled.index.count_points("a"), len(filled.embedder.calls)) == (points, calls)
    assert len(filled.memory.of("a").recall("fact 7")) > 0


def test_search_goes_on_while_it_is_built(filled: World) -> None:
    found: list[int] = []
    builder(filled).run_build(lambda _build: found.append(len(filled.memory.of("a").recall("fact 7"))))
    assert set(found) == {found[0]}


def test_a_build_that_was_cut_short_while_it_compared_is_not_begun_anew(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_verifier: IndexVerifier) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(IndexVerifier, "compare_all", die)
        with pytest.raises(InterruptedError):
            builder(filled).run_build()
    begun = filled.index.collections.list_generations()
    build, found = builder(filled).run_build()
    assert (build.earlier, build.written, build.resumed, found.is_sound) == (11, 11, True, True)
    assert filled.index.collections.list_generations() == begun == [build.collection]


def test_two_builds_at_once_do_not_mix(filled: World) -> None:
    one, other = builder(filled), builder(filled)
    begun = one.start_build()
    assert other.build_slice(other.start_build()) is not None
    with pytest.raises(Conflict):
        one.build_slice(begun)


def test_what_changes_meanwhile_is_there_in_the_end(filled: World) -> None:
    building = builder(filled)
    build = building.start_build()
    build = building.build_slice(build) or build
    with filled.store.read_connection() as connection:
        first = connection.execute(sa.select(memories.c.id).order_by(memories.c.seq)).scalars().first()
    assert first is not None
    filled.memory.of("a").forget(first)
    filled.memory.of("a").remember("the limit is 5", subject="limit")
    filled.memory.of("a").remember("the limit is 7", subject="limit")
    filled.pipeline().run_until_idle()
    while (following := building.build_slice(build)) is not None:
        build = following
    late = filled.memory.of("a").remember("said at the last moment")
    filled.pipeline().run_until_idle()
    building.finish_build(build)
    filled.pipeline().run_until_idle()
    assert IndexVerifier(filled.store, filled.index).compare_all().is_sound
    assert filled.memory.of("a").recall("said at the last moment")[0].id == late.id
    assert filled.memory.of("a").recall("limit")[0].content == "the limit is 7"


def test_another_model_is_filled_beside_and_then_takes_over(filled: World, wider: HashedWords) -> None:
    build, found = builder(filled, embedder=wider).run_build()
    assert (build.written, found.is_sound, found.rows) == (11, True, 11)
    assert len(filled.memory.of("a").recall("fact 7")) > 0
    old, filled.index, filled.embedder = filled.index, target(filled, wider), wider
    hits = filled.memory.of("a").recall("fact 7")
    assert "dense" in hits[0].why.retrievers
    assert counts(filled).pending == 0
    assert old.collections.list_generations() == [f"{old.space}--1"]
    with filled.store.read_connection() as connection:
        assert set(connection.execute(sa.select(memories.c.space)).scalars()) == {wider.space.collection}


def test_a_collection_from_before_there_were_aliases_is_replaced(filled: World) -> None:
    place = filled.index.collections
    with place.open_client() as client:
        place.drop_collection(place.list_generations()[0])
        place.create_collection(client, place.name)
    _, found = builder(filled).run_build()
    assert (found.is_sound, place.list_generations()) == (True, [f"{place.name}--1"])
    assert len(filled.memory.of("a").recall("fact 7")) > 0


def test_a_provider_that_stumbles_is_waited_for(filled: World, wider: HashedWords) -> None:
    wider.answers = [ProviderRateLimited("slow", retry_after=7), ProviderTransient("reset")]
    pauses = Pauses()
    build, found = builder(filled, embedder=wider, pause=pauses).run_build()
    assert (pauses, build.written, found.is_sound) == ([7, 2.0], 11, True)


def test_a_provider_that_refuses_stops_it_and_nothing_is_switched(filled: World, wider: HashedWords) -> None:
    wider.fails = lambda _texts: ProviderRefused("no quota")
    with pytest.raises(ProviderRefused):
        builder(filled, embedder=wider).run_build()
    wider.fails = lambda _texts: ProviderTransient("down")
    with pytest.raises(ProviderTransient):
        builder(filled, embedder=wider, pause=Pauses()).run_build()
    assert len(wider.calls) == 2 + TRIES
    assert len(filled.memory.of("a").recall("fact 7")) > 0


def test_a_text_that_the_new_model_refuses_is_left_to_the_words(filled: World, wider: HashedWords) -> None:
    wider.fails = lambda texts: ProviderRefused("bad input") if "a fact 7" in texts else None
    build, found = builder(filled, embedder=wider).run_build()
    assert (build.left_out, build.written, found.missing) == (1, 10, 0)
    filled.index, filled.embedder = target(filled, wider), wider
    assert filled.memory.of("a").recall("fact 7")[0].content == "a fact 7"


def test_many_are_built_in_slices(world: World) -> None:
    world.memory.remember_many([NewMemory(agent_id=f"a{n % 7}", content=f"fact {n}") for n in range(100)])
    build, _ = builder(world).run_build()
    assert build.written == 100
