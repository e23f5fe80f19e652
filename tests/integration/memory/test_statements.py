"""Statements about a subject: the newest holds, whatever the order of arrival, and history can be asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from agentstate.errors import Conflict, InvalidInput
from agentstate.memory.facts.records import NewMemory
from tests.worlds.memories import World

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def say(world: World, amount: int, at: datetime | None = None, agent: str = "a") -> object:
    return world.memory.of(agent).remember(f"the balance is {amount} USDC", subject="wallet.usdc", at=at)


def held(world: World, at: datetime | None = None, agent: str = "a") -> str | None:
    found = world.memory.of(agent).believed("wallet.usdc", as_of=at)
    return None if found is None else found.content


def recalled(world: World, **options: object) -> list[str]:
    return [hit.content for hit in world.memory.of("a").recall("balance USDC", **options)]  # type: ignore[arg-type]


def test_of_three_balances_the_newest_is_recalled_and_the_others_are_history(world: World) -> None:
    for amount in (100, 200, 300):
        say(world, amount)
    for _ in range(2):  # waiting, then in the index
        assert recalled(world) == ["the balance is 300 USDC"]
        world.pipeline().run_until_idle()
    history = [found.content for found in world.memory.of("a").statements("wallet.usdc")]
    assert history == [f"the balance is {amount} USDC" for amount in (100, 200, 300)]


def test_the_receipt_says_what_was_superseded(world: World) -> None:
    first = world.memory.of("a").remember("limit 5", subject="limit")
    second = world.memory.of("a").remember("limit 7", subject="limit")
    assert (first.supersedes, second.supersedes) == (None, first.id)
    older = world.memory.of("a").find(first.id)
    assert older is not None
    assert older.superseded_by == second.id


def test_what_was_searchable_leaves_the_recall_when_it_is_superseded(world: World) -> None:
    say(world, 100)
    world.pipeline().run_until_idle()
    say(world, 200)
    assert recalled(world) == ["the balance is 200 USDC"]
    assert world.memory.of("a").watermark().waiting == 1
    assert world.pipeline().run_until_idle().searchable == 2
    assert recalled(world) == ["the balance is 200 USDC"]
    assert world.index.count_points("a") == 2


def test_a_statement_that_arrives_late_takes_its_place_in_the_past(world: World) -> None:
    say(world, 200, MONDAY + DAY)
    say(world, 100, MONDAY)
    assert held(world) == "the balance is 200 USDC"
    assert recalled(world) == ["the balance is 200 USDC"]
    assert [found.content for found in world.memory.of("a").statements("wallet.usdc")] == [
        "the balance is 100 USDC",
        "the balance is 200 USDC",
    ]


def now(world: World) -> datetime:
    with world.store.transaction() as tx:
        return tx.now()


def test_what_was_believed_goes_by_what_was_known_then(world: World) -> None:
    say(world, 100)
    between = now(world)
    while now(world) == between:
        pass  # SQLite's clock counts milliseconds: what is said next must be later
    say(world, 200)
    assert held(world) == "the balance is 200 USDC"
    assert held(world, between) == "the balance is 100 USDC"
    assert recalled(world, as_of=between) == ["the balance is 100 USDC"]
    world.pipeline().run_until_idle()
    assert recalled(world, as_of=between) == ["the balance is 100 USDC"]
    assert held(world, MONDAY) is None


def test_a_balance_that_comes_back_needs_its_time(world: World) -> None:
    say(world, 100)
    say(world, 200)
    with pytest.raises(Conflict, match="superseded"):
        say(world, 100)
    say(world, 100, at=datetime.now(UTC))
    assert held(world) == "the balance is 100 USDC"


def test_a_batch_given_again_changes_nothing(world: World) -> None:
    batch = [NewMemory(agent_id="a", content=f"limit {n}", subject="limit") for n in (5, 7, 9)]
    assert [receipt.outcome for receipt in world.memory.remember_many(batch)] == ["new"] * 3
    assert [receipt.outcome for receipt in world.memory.remember_many(batch)] == ["kept"] * 3
    found = world.memory.of("a").believed("limit")
    assert found is not None
    assert found.content == "limit 9"


def test_what_has_ended_or_not_begun_does_not_hold(world: World) -> None:
    world.memory.of("a").remember("the old fee is 1 %", valid_to=MONDAY)
    world.memory.of("a").remember("the coming fee is 3 %", valid_from=datetime.now(UTC) + DAY)
    world.memory.of("a").remember("the present fee is 2 %", valid_from=MONDAY)
    for _ in range(2):
        assert [hit.content for hit in world.memory.of("a").recall("fee")] == ["the present fee is 2 %"]
        world.pipeline().run_until_idle()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"valid_from": MONDAY, "valid_to": MONDAY}, "cannot end"),
        ({"valid_to": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 the point of the case
        ({"importance": 11}, "1 to 10"),
        ({"subject": " "}, "empty"),
    ],
)
def test_a_wrong_interval_or_importance_is_refused(world: World, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        world.memory.of("a").remember("x", **changes)  # type: ignore[arg-type]
    assert world.memory.of("a").watermark().newest == 0


def test_writers_at_once_leave_one_statement_that_holds(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: say(world, n, MONDAY + n * DAY), range(12)))
    history = world.memory.of("a").statements("wallet.usdc")
    assert [found.superseded_by for found in history] == [*(found.id for found in history[1:]), None]
    assert held(world) == "the balance is 11 USDC"
