"""The index against the truth: every difference is seen and repaired, and an index that agrees is left alone."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa

from agentstate.errors import Conflict
from agentstate.memory.index.rebuild import IndexBuilder
from agentstate.memory.index.verify import Comparison, IndexVerifier
from agentstate.memory.search.chunks import CHUNK_TOKENS, point_id, split_chunks
from agentstate.memory.search.terms import TEXT_RULES
from agentstate.store.tables import memories
from tests.integration.memory.test_chunks import LONG
from tests.integration.memory.test_pipeline import counts, remember
from tests.worlds.memories import World, points_of

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def filled(world: World) -> World:
    remember(world, 5)
    world.memory.of("a").remember(LONG)
    world.pipeline().run_until_idle()
    return world


def points(world: World) -> int:
    return world.index.count_points("a")


def verify(world: World, *, repair: bool = True, remove_unknown: bool = False) -> Comparison:
    verifier = IndexVerifier(world.store, world.index)
    return verifier.compare_all(repair=repair, remove_unknown=remove_unknown)


def remove(world: World, *ids: object) -> None:
    with world.index.collections.open_ready_client() as client:
        client.delete(world.index.space, points_selector=[str(each) for each in ids])


def all_ids(world: World) -> list[object]:
    with world.store.read_connection() as connection:
        return list(connection.execute(sa.select(memories.c.id).order_by(memories.c.seq)).scalars())


def test_an_index_that_agrees_is_left_alone(filled: World) -> None:
    found = verify(filled)
    assert found.is_sound
    assert (found.rows, found.points) == (6, 5 + len(split_chunks(LONG, limit=CHUNK_TOKENS)))
    assert counts(filled).searchable == 6
    assert IndexVerifier(filled.store, filled.index).compare_sample().is_sound


def test_what_is_missing_waits_again_and_costs_no_call(filled: World) -> None:
    first, *_, long = all_ids(filled)
    remove(filled, first, point_id(long, 2))  # type: ignore[arg-type]
    before, calls = points(filled), len(filled.embedder.calls)
    assert verify(filled, repair=False).missing == 2
    assert counts(filled).pending == 0
    assert verify(filled).missing == 2
    assert counts(filled).pending == 2
    filled.pipeline().run_until_idle()
    assert (points(filled), len(filled.embedder.calls)) == (before + 2, calls)
    assert verify(filled).is_sound


def test_another_version_is_replaced_newer_or_older(filled: World) -> None:
    older, newer, *_ = all_ids(filled)
    with filled.store.transaction() as tx:
        ahead = memories.update().where(memories.c.id == older)
        tx.connection.execute(ahead.values(version=3, indexed_version=3))
    filled.index.upsert_points(points_of(newer, ["from a lost time"], version=9))  # type: ignore[arg-type]
    assert verify(filled).stale == 2
    filled.pipeline().run_until_idle()
    assert verify(filled).is_sound
    assert filled.memory.of("a").recall("lost time") == []


def test_points_made_by_older_rules_are_made_anew_and_found_meanwhile(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentstate.memory.index.points.TEXT_RULES", TEXT_RULES - 1)
    filled.memory.of("a").remember("quokka crossing")
    filled.pipeline().run_until_idle()
    monkeypatch.undo()
    calls = len(filled.embedder.calls)
    assert (found := verify(filled, repair=False)).outdated == 1
    assert not found.is_sound
    assert verify(filled).queued == 1
    assert len(filled.memory.of("a").recall("quokka")) == 1
    filled.pipeline().run_until_idle()
    assert verify(filled).is_sound
    assert len(filled.memory.of("a").recall("quokka")) == 1
    assert len(filled.embedder.calls) == calls, "the vectors are kept"


def strange(filled: World) -> UUID:
    """A point that has no memory here, and a chunk of one that has fewer; the memory of the former."""
    *_, long = all_ids(filled)
    ghost = point_id(long, 10_000)  # type: ignore[arg-type]
    [_, chunk] = points_of(long, ["x", "x"])  # type: ignore[arg-type]
    chunk.id = str(ghost)
    unknown = point_id(ghost, 1)
    filled.index.upsert_points([chunk, *points_of(unknown, ["x"])])
    return unknown


def test_points_of_other_stores_are_told_and_left_alone_until_somebody_says_so(filled: World) -> None:
    before = points(filled)
    strange(filled)
    found = verify(filled)
    assert (found.orphaned, found.unknown, found.is_sound) == (1, 1, False)
    assert (verify(filled).unknown, points(filled)) == (1, before + 1)
    assert verify(filled, remove_unknown=True).unknown == 1
    assert (verify(filled).is_sound, points(filled)) == (True, before)


def test_a_switch_that_would_remove_another_stores_points_is_refused(filled: World) -> None:
    strange(filled)
    serving = filled.index.collections.current_collection()
    builder = IndexBuilder(filled.store, filled.index, filled.embedder, filled.settings)
    with pytest.raises(Conflict, match="1 points"):
        builder.run_build()
    assert filled.index.collections.list_generations() == [serving]
    builder.run_build(remove_unknown=True)
    assert verify(filled).is_sound


def test_a_change_that_is_under_way_is_no_difference(filled: World) -> None:
    filled.memory.of("a").remember("the limit is 5", subject="limit")
    filled.pipeline().run_until_idle()
    filled.memory.of("a").remember("the limit is 7", subject="limit")
    assert verify(filled).is_sound
    filled.pipeline().run_until_idle()
    assert verify(filled).is_sound


def test_a_sample_notices_an_emptied_collection(filled: World) -> None:
    filled.index.collections.drop_collection(filled.index.collections.list_generations()[0])
    filled.index.collections._ready_in = None
    found = IndexVerifier(filled.store, filled.index).compare_sample()
    assert (found.points, found.missing > 0) == (0, True)


def test_nothing_remembered_is_sound(world: World) -> None:
    assert verify(world) == Comparison()
    assert IndexVerifier(world.store, world.index).compare_sample() == Comparison()
