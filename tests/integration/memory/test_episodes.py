"""Episodic memory on a real Redis: nothing merged, nothing foreign, everything with a time to live."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agentstate.errors import InvalidInput, RedisUnavailable, TooLarge
from agentstate.memory.episodes.store import Episode, EpisodicStore
from agentstate.settings import Settings

NOW = datetime(2026, 11, 1, 12, 0, 0, 654321, tzinfo=UTC)


class Now:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture(params=[False, True], ids=["bytes", "text"])
def client(redis_url: str, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=request.param) as connection:
        yield connection


def settings(**changes: Any) -> Settings:
    return Settings.load(database_url="sqlite:///unused.db", **changes)


@pytest.fixture
def episodes(client: redis.Redis, now: Now) -> EpisodicStore:
    return EpisodicStore(client, "ag_7", settings(episodes_kept=50), clock=now)


def stakes(found: list[Episode]) -> list[Any]:
    return [episode.payload["n"] for episode in found]


def test_an_episode_comes_back_as_it_was(episodes: EpisodicStore) -> None:
    payload = {"game": "coin-flip", "amount": Decimal("2.50"), "at": NOW, "agent_id": "victim"}
    recorded = episodes.record("bet", payload, outcome={"won": False})
    (read,) = episodes.get_recent()
    assert read == recorded
    assert (read.payload, read.outcome, read.at, read.agent_id) == (payload, {"won": False}, NOW, "ag_7")


def test_equal_episodes_at_one_instant_stay_apart_and_in_order(episodes: EpisodicStore) -> None:
    for n in (1, 1, 2, 3):
        episodes.record("bet", {"n": n}, at=NOW)
    assert stakes(episodes.get_recent()) == [3, 2, 1, 1]


def test_the_newest_of_a_type_are_found_below_many_others(episodes: EpisodicStore) -> None:
    for n in range(10):
        episodes.record("trade", {"n": n})
    for n in range(20):
        episodes.record("bet", {"n": n})
    assert stakes(episodes.get_recent(3, "trade")) == [9, 8, 7]
    assert stakes(episodes.get_recent(2)) == [19, 18]
    assert episodes.get_recent(5, "none") == []


def test_a_flood_of_one_type_does_not_push_out_another(episodes: EpisodicStore) -> None:
    episodes.record("escrow_open", {"n": 0})
    for n in range(127):
        episodes.record("tick", {"n": n})
    assert stakes(episodes.get_recent(5, "escrow_open")) == [0]
    assert stakes(episodes.get_recent(100, "tick")) == list(range(126, 77, -1))
    assert episodes.count() == 50


def test_at_most_fifteen_more_than_asked_are_kept(episodes: EpisodicStore) -> None:
    counts = []
    for n in range(100):
        episodes.record("tick", {"n": n})
        counts.append(episodes.count())
    assert max(counts) == 50 + 15
    assert counts[95] == 50


def test_a_late_report_of_something_older_than_all_that_is_kept_does_not_stay(episodes: EpisodicStore) -> None:
    for n in range(63):
        episodes.record("tick", {"n": n})
    late = episodes.record("tick", {"n": 99}, at=NOW - timedelta(hours=1))
    assert late.kept is False
    assert late not in episodes.get_recent(100)


def test_what_is_too_old_is_gone_from_every_answer(episodes: EpisodicStore, now: Now, client: redis.Redis) -> None:
    episodes.record("bet", {"n": 1})
    episodes.record("trade", {"n": 2})
    now.time += timedelta(days=5)
    episodes.record("bet", {"n": 3})
    now.time += timedelta(days=3)
    assert stakes(episodes.get_recent()) == [3]
    assert episodes.get_recent(5, "trade") == []
    assert episodes.count() == 1
    for n in range(16):  # what nobody sees any more is swept out at every sixteenth
        episodes.record("bet", {"n": n})
    assert client.zcard("as:{ag_7}:episodes:all") == episodes.count() == 17


def test_every_key_has_a_time_to_live_and_the_agents_tag(episodes: EpisodicStore, client: redis.Redis) -> None:
    episodes.record("bet", {"n": 1})
    episodes.record("trade", {"n": 1})
    keys = [key.decode() if isinstance(key, bytes) else key for key in client.scan_iter()]
    assert len(keys) == 5  # all, types, arrived, and two types
    assert all(key.startswith("as:{ag_7}:episodes:") for key in keys)
    assert all(604_800 <= client.ttl(key) <= 604_800 * 9 / 8 for key in keys)


def test_agents_do_not_see_each_other(client: redis.Redis, now: Now) -> None:
    mine = EpisodicStore(client, "a", settings(), clock=now)
    mine.record("bet", {"n": 1})
    assert EpisodicStore(client, "b", settings(), clock=now).get_recent() == []


@pytest.mark.parametrize("line", ['[3,"ag_7","shape"]', '{"v":1}', "no JSON"])
def test_a_record_of_another_version_hides_no_other(
    episodes: EpisodicStore, client: redis.Redis, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    episodes.record("bet", {"n": 1})
    client.zadd("as:{ag_7}:episodes:all", {f"0000000000000009{line}": (NOW.timestamp() + 1) * 1e6})
    assert stakes(episodes.get_recent()) == [1]
    assert "is left out" in caplog.text


def test_a_window_is_counted_by_type(episodes: EpisodicStore, now: Now) -> None:
    episodes.record("bet", {}, at=NOW - timedelta(hours=3))
    episodes.record("bet", {}, at=NOW - timedelta(hours=2))
    episodes.record("trade", {}, at=NOW)
    assert episodes.summarize_window(NOW - timedelta(hours=2)) == {
        "total_events": 2,
        "by_type": {"bet": 1, "trade": 1},
        "first_at": NOW - timedelta(hours=2),
        "last_at": NOW,
        "time_span_hours": 2.0,
        "degraded": False,
    }
    empty = episodes.summarize_window(NOW + timedelta(minutes=1))
    assert (empty["total_events"], empty["first_at"], empty["time_span_hours"]) == (0, None, 0.0)


def test_counts_of_recent_mean_what_they_say(episodes: EpisodicStore) -> None:
    episodes.record("bet", {"n": 1})
    assert episodes.get_recent(0) == []
    with pytest.raises(InvalidInput):
        episodes.get_recent(-1)


@pytest.mark.parametrize(
    ("event_type", "payload", "at", "error"),
    [
        ("a|b", {}, None, InvalidInput),
        ("", {}, None, InvalidInput),
        ("bet", {"amount": 0.1}, None, InvalidInput),
        ("bet", ["list"], None, InvalidInput),
        ("bet", {"x": "y" * 70_000}, None, TooLarge),
        ("bet", {}, NOW.replace(tzinfo=None), InvalidInput),
        ("bet", {}, NOW + timedelta(days=365), InvalidInput),
    ],
)
def test_bad_input_is_refused_and_nothing_is_recorded(
    episodes: EpisodicStore, event_type: str, payload: Any, at: datetime | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        episodes.record(event_type, payload, at=at)
    assert episodes.count() == 0


def test_scripts_survive_a_flush(episodes: EpisodicStore, client: redis.Redis) -> None:
    episodes.record("bet", {"n": 1})
    client.flushdb()
    client.script_flush()
    episodes.record("bet", {"n": 2})
    assert stakes(episodes.get_recent()) == [2]


def test_redis_that_is_away_is_named() -> None:
    with (
        redis.Redis(port=9, retry=Retry(NoBackoff(), 0)) as nowhere,
        pytest.raises(RedisUnavailable, match="durable state is unaffected"),
    ):
        EpisodicStore(nowhere, "a", settings()).record("bet", {})
