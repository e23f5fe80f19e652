"""Every known defect of episodic stores over a sorted set, by number, as a scenario that must not go wrong here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis

from agentstate.errors import InvalidInput
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.store import Store
from tests.worlds.episodes import COPY, NOW, EpisodeWorld, Now


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def episodes(store: Store, client: redis.Redis, now: Now) -> EpisodicStore:
    return EpisodeWorld(store, client, clock=now).process()


def numbers(episodes: EpisodicStore, limit: int = 50, event_type: str | None = None) -> list[Any]:
    """The numbers of the newest, from the store and again from Redis."""
    first = [episode.payload["n"] for episode in episodes.get_recent(limit, event_type)]
    again = [episode.payload["n"] for episode in episodes.get_recent(limit, event_type)]
    assert first == again
    return first


@pytest.mark.guide_defect(76)
def test_decimals_come_back_exactly(episodes: EpisodicStore) -> None:
    amount = Decimal("0.100000000000000000000000000000000001")
    episodes.record("bet", {"amount": amount}, outcome={"payout": Decimal("4.9750")})
    (found,) = episodes.get_recent()
    assert str(found.payload["amount"]) == str(amount)
    assert str(found.outcome["payout"]) == "4.9750"


@pytest.mark.guide_defect(77)
def test_three_equal_episodes_are_three(episodes: EpisodicStore) -> None:
    for _ in range(3):
        episodes.record("bet", {"n": 1}, at=NOW)
    assert numbers(episodes) == [1, 1, 1]
    assert len({episode.id for episode in episodes.get_recent()}) == 3


@pytest.mark.guide_defect(78)
def test_the_newest_of_a_type_are_found_below_many_newer_others(episodes: EpisodicStore) -> None:
    for n in range(10):
        episodes.record("trade", {"n": n})
    for n in range(60):
        episodes.record("bet", {"n": n})
    assert numbers(episodes, 5, "trade") == [9, 8, 7, 6, 5]


@pytest.mark.guide_defect(79)
def test_a_later_outcome_is_the_same_episodes(episodes: EpisodicStore) -> None:
    bet = episodes.record("bet", {"n": 1})
    episodes.record("bet", {"n": 2})
    changed = episodes.update_outcome(bet.id, {"won": True})
    assert changed.revision == 1
    assert [episode.outcome for episode in episodes.get_recent()] == [None, {"won": True}]
    assert episodes.get_recent(5, "bet")[1] == changed
    assert episodes.count() == 2


@pytest.mark.guide_defect(80)
def test_ticks_do_not_push_out_the_open_escrow(episodes: EpisodicStore) -> None:
    episodes.record("escrow_open", {"n": 7})
    for n in range(500):
        episodes.record("tick", {"n": n})
    assert numbers(episodes, 5, "escrow_open") == [7]


@pytest.mark.guide_defect(81)
def test_what_happened_earlier_has_its_place(episodes: EpisodicStore) -> None:
    for n in range(40):
        episodes.record("tick", {"n": n}, at=NOW - timedelta(minutes=40 - n))
    late = episodes.record("audit", {"n": 99}, at=NOW - timedelta(days=1))
    assert numbers(episodes)[-1] == 99
    for n in range(100):
        episodes.record("tick", {"n": n})
    assert numbers(episodes, 1, "audit") == [99]  # although it is the oldest of all
    assert episodes.find(late.id) == late


@pytest.mark.guide_defect(82)
@pytest.mark.parametrize("factor", [1_000, 1_000_000])
def test_a_time_in_the_wrong_unit_is_refused(episodes: EpisodicStore, factor: int) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        episodes.record("bet", {"n": 1}, at=datetime.fromtimestamp(NOW.timestamp() * factor, UTC))
    with pytest.raises(InvalidInput, match="in the future"):
        episodes.record("bet", {"n": 1}, at=NOW + timedelta(days=400))
    assert episodes.count() == 0


@pytest.mark.guide_defect(83)
def test_a_record_of_a_newer_version_hides_no_other(episodes: EpisodicStore, client: redis.Redis) -> None:
    episodes.record("bet", {"n": 1})
    line = '[3,"ag_7","x","bet",1,{"n":2},"of a newer form"]'
    episodes.get_recent()
    client.zadd(COPY, {line: NOW.timestamp() * 1e6})
    assert numbers(episodes) == [1]


@pytest.mark.guide_defect(84)
def test_none_are_none_and_fewer_are_refused(episodes: EpisodicStore) -> None:
    episodes.record("bet", {"n": 1})
    assert episodes.get_recent(0) == []
    with pytest.raises(InvalidInput):
        episodes.get_recent(-1)


@pytest.mark.guide_defect(85)
def test_age_is_each_episodes_own(episodes: EpisodicStore, now: Now) -> None:
    episodes.record("bet", {"n": 1})
    for n in range(2, 10):
        now.time += timedelta(days=1)
        episodes.record("bet", {"n": n})
    assert numbers(episodes) == [9, 8, 7, 6, 5, 4, 3, 2]


@pytest.mark.guide_defect(86)
def test_a_window_spans_what_happened_in_it(episodes: EpisodicStore, now: Now) -> None:
    for kind, hours in (("bet", 30), ("bet", 5), ("trade", 3), ("bet", 1)):
        episodes.record(kind, {"n": hours}, at=NOW - timedelta(hours=hours))
    now.time += timedelta(hours=10)  # the wall clock has no say in it
    window = episodes.summarize_window(NOW - timedelta(hours=6))
    assert window["by_type"] == {"bet": 2, "trade": 1}
    assert window["time_span_hours"] == 4.0
