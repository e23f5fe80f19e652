"""What makes a memory another one: what a caller says twice is held twice only when it says two things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentstate.errors import Conflict
from agentstate.memory.facts.records import TURN, NewMemory
from tests.worlds.memories import World

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MAY, JUNE = datetime(2024, 5, 3, tzinfo=UTC), datetime(2024, 6, 3, tzinfo=UTC)
RENT = "Paid the rent."


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ({"kind": "event", "at": MAY}, {"kind": "event", "at": JUNE}, "new"),
        ({"kind": "event", "at": MAY}, {"kind": "event", "at": MAY.astimezone()}, "kept"),
        ({"kind": "event", "at": MAY}, {"kind": "event"}, "new"),
        ({"kind": "event", "at": MAY}, {"kind": "event", "at": MAY, "source": "mail:7"}, "kept"),
        ({"valid_from": MAY}, {"valid_from": JUNE}, "new"),
        ({"valid_to": NOW - DAY}, {}, "new"),
        ({"valid_to": NOW + DAY}, {"valid_to": NOW + 2 * DAY}, "new"),
        ({"subject": "rent", "valid_to": NOW - DAY}, {"subject": "rent"}, "again"),
        ({"subject": "rent", "valid_to": NOW - DAY}, {"subject": "rent", "valid_to": NOW - DAY}, "kept"),
        ({"subject": "rent", "at": MAY}, {"subject": "rent", "at": JUNE}, "again"),
        ({"subject": "rent"}, {"subject": "rent"}, "kept"),
        ({"subject": "rent"}, {"subject": "flat"}, "new"),
        ({}, {"kind": "lesson"}, "new"),
        ({}, {"importance": 9, "metadata": {"flat": 3}}, "kept"),
    ],
)
def test_the_same_text_is_another_memory_when_it_says_something_else(
    world: World, first: dict[str, Any], second: dict[str, Any], outcome: str
) -> None:
    memory = world.memory.of("a")
    receipts = [memory.remember(RENT, **first), memory.remember(RENT, **second)]
    assert [receipt.outcome for receipt in receipts] == ["new", outcome]
    assert len(list(memory.export())) == (1 if outcome == "kept" else 2)
    assert (receipts[0].id == receipts[1].id) is (outcome == "kept")


def test_every_acknowledged_event_of_one_text_is_recalled(world: World) -> None:
    memory = world.memory.of("a")
    days = [MAY + timedelta(days=30 * month) for month in range(6)]
    for day in days:
        memory.remember(RENT, "event", at=day)
    for _ in range(2):
        assert sorted(hit.at for hit in memory.recall("rent", 10) if hit.at) == days
        world.pipeline().run_until_idle()


def test_a_statement_that_holds_again_after_its_end_is_held(world: World) -> None:
    memory = world.memory.of("a")
    memory.remember("The fee is 1 %.", subject="fee", valid_to=NOW - DAY)
    assert memory.believed("fee") is None
    again = memory.remember("The fee is 1 %.", subject="fee")
    assert (again.outcome, again.searchable) == ("again", "words")
    held = memory.believed("fee")
    assert held is not None
    assert held.id == again.id
    for _ in range(2):
        assert [hit.id for hit in memory.recall("fee")] == [again.id]
        world.pipeline().run_until_idle()


def test_a_superseded_statement_holds_again_with_a_time_and_is_refused_without(world: World) -> None:
    memory = world.memory.of("a")
    memory.remember("The limit is 5.", subject="limit")
    memory.remember("The limit is 7.", subject="limit")
    with pytest.raises(Conflict):
        memory.remember("The limit is 5.", subject="limit")
    again = memory.remember("The limit is 5.", subject="limit", at=datetime.now(UTC) + timedelta(seconds=1))
    assert again.outcome == "again"


def test_one_text_in_two_turns_is_two_memories(world: World) -> None:
    turns = [
        NewMemory(
            agent_id="a", content="Yes.", kind=TURN, session="s", turn=number, source=source, at=MAY + number * DAY
        )
        for number, source in ((1, "t1"), (2, "t2"), (3, None), (4, None))
    ]
    assert [receipt.outcome for receipt in world.memory.remember_many(turns)] == ["new"] * 4
    assert [receipt.outcome for receipt in world.memory.remember_many(turns)] == ["kept"] * 4


@pytest.mark.parametrize(
    ("content", "options", "searchable"),
    [
        (RENT, {}, "words"),
        (RENT, {"valid_to": NOW - DAY}, None),
        (RENT, {"valid_from": NOW + DAY}, None),
        (RENT, {"subject": "rent", "valid_to": NOW - DAY}, None),
        (RENT, {"subject": "rent", "at": NOW - DAY}, "words"),
        ("to be or not to be", {}, None),
        ("👍", {}, None),
    ],
)
def test_a_receipt_claims_no_search_that_finds_nothing(
    world: World, content: str, options: dict[str, Any], searchable: str | None
) -> None:
    memory = world.memory.of("a")
    receipt = memory.remember(content, **options)
    assert receipt.searchable == searchable
    assert bool(memory.recall(content)) is (searchable is not None)


def test_a_late_statement_about_the_past_is_stored_and_not_searchable(world: World) -> None:
    memory = world.memory.of("a")
    memory.remember("The limit is 7.", subject="limit", at=NOW - DAY)
    late = memory.remember("The limit is 5.", subject="limit", at=NOW - 2 * DAY)
    assert (late.outcome, late.searchable) == ("new", None)
    assert [hit.content for hit in memory.recall("limit")] == ["The limit is 7."]


def test_a_repeated_memory_tells_how_it_is_found_by_now(world: World) -> None:
    memory = world.memory.of("a")
    memory.remember(RENT)
    world.pipeline().run_until_idle()
    assert world.memory.of("a").remember(RENT).searchable == "meaning"
    world.embedder.semantic = False
    assert world.memory.of("a").remember(RENT).searchable == "words"


def test_get_raises_find_gives_none_and_list_pages_from_the_newest(world: World) -> None:
    from uuid import uuid4

    from agentstate.errors import NotFound

    memory = world.memory.of("a")
    receipts = memory.remember_many([NewMemory(content=f"fact {number}") for number in range(5)])
    assert memory.get(receipts[0].id).content == "fact 0"
    assert memory.get(str(receipts[0].id)).id == receipts[0].id
    assert memory.find(uuid4()) is None
    with pytest.raises(NotFound):
        memory.get(uuid4())
    newest = memory.list(2)
    assert [one.seq for one in newest] == sorted((receipt.seq for receipt in receipts), reverse=True)[:2]
    rest = memory.list(10, before=newest[-1].seq)
    assert len({one.id for one in (*newest, *rest)}) == 5
    assert memory.list(kind="lesson") == []
