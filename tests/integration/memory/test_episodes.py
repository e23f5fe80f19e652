"""Episodic memory on real servers: durable first, nothing merged, nothing foreign, and the same without Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import DatabaseError

from agentstate.errors import InvalidInput, NotFound, StoreUnavailable, TooLarge
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.settings import Settings
from agentstate.store import Store
from tests.worlds.episodes import COPY, NOW, EpisodeWorld, Now, numbers


@pytest.fixture(params=[False, True], ids=["bytes", "text"])
def client(redis_url: str, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=request.param) as connection:
        yield connection


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def world(store: Store, client: redis.Redis, now: Now) -> EpisodeWorld:
    return EpisodeWorld(store, client, clock=now)


@pytest.fixture
def episodes(world: EpisodeWorld) -> EpisodicStore:
    return world.process()


def test_an_episode_comes_back_as_it_was(episodes: EpisodicStore) -> None:
    payload = {"game": "coin-flip", "amount": Decimal("2.50"), "at": NOW, "agent_id": "victim"}
    recorded = episodes.record("bet", payload, outcome={"won": False})
    for _ in ("from the store", "from Redis"):
        (read,) = episodes.get_recent()
        assert read == recorded
        assert (read.payload, read.outcome, read.at, read.agent_id) == (payload, {"won": False}, NOW, "ag_7")


def test_equal_episodes_at_one_instant_stay_apart_and_in_order(episodes: EpisodicStore) -> None:
    for n in (1, 1, 2):
        episodes.record("bet", {"n": n}, at=NOW)
    assert numbers(episodes.get_recent()) == [2, 1, 1]
    episodes.record("bet", {"n": 3}, at=NOW)
    assert numbers(episodes.get_recent()) == numbers(episodes.between(NOW)) == [3, 2, 1, 1]


def test_the_newest_of_a_type_are_found_below_many_others(episodes: EpisodicStore) -> None:
    for n in range(10):
        episodes.record("trade", {"n": n})
    for n in range(20):
        episodes.record("bet", {"n": n})
    assert numbers(episodes.get_recent(3, "trade")) == [9, 8, 7]
    assert numbers(episodes.get_recent(2)) == [19, 18]
    assert episodes.get_recent(5, "none") == []


def test_a_flood_of_one_type_does_not_push_out_another(episodes: EpisodicStore) -> None:
    episodes.record("escrow_open", {"n": 0})
    episodes.record_many([("tick", {"n": n}, None, None) for n in range(127)])
    assert numbers(episodes.get_recent(5, "escrow_open")) == [0]
    assert numbers(episodes.get_recent(100, "tick")) == list(range(126, 26, -1))
    assert (episodes.count(), episodes.count("tick")) == (128, 127)


def test_redis_keeps_no_more_than_its_limit_and_more_is_read_from_the_store(
    episodes: EpisodicStore, client: redis.Redis
) -> None:
    episodes.get_recent()
    for n in range(70):
        episodes.record("tick", {"n": n})
        assert client.zcard(COPY) <= 50 + 1
    assert client.zcard(COPY) == 50 + 1
    assert numbers(episodes.get_recent(50)) == list(range(69, 19, -1))
    assert numbers(episodes.get_recent(1_000)) == list(range(69, -1, -1))


def test_a_late_report_has_its_place_in_the_order(episodes: EpisodicStore) -> None:
    episodes.get_recent()
    for n in range(63):
        episodes.record("tick", {"n": n}, at=NOW + timedelta(seconds=n))
    late = episodes.record("tick", {"n": 99}, at=NOW + timedelta(seconds=61, milliseconds=1))
    oldest = episodes.record("tick", {"n": 98}, at=NOW - timedelta(hours=1))
    assert numbers(episodes.get_recent(3)) == [62, 99, 61]
    assert oldest not in episodes.get_recent(50)
    assert episodes.get_recent(100)[-1] == oldest
    assert late in episodes.get_recent(50)


def test_what_is_too_old_is_not_recent_and_is_kept_all_the_same(episodes: EpisodicStore, now: Now) -> None:
    episodes.record("bet", {"n": 1})
    episodes.record("trade", {"n": 2})
    now.time += timedelta(days=5)
    episodes.record("bet", {"n": 3})
    assert numbers(episodes.get_recent()) == [3, 2, 1]
    now.time += timedelta(days=3)
    for _ in ("from Redis", "from the store"):
        assert numbers(episodes.get_recent()) == [3]
        assert episodes.get_recent(5, "trade") == []
    assert numbers(episodes.between(NOW)) == [3, 2, 1]
    assert numbers(episodes.between(NOW, NOW + timedelta(seconds=1), event_type="bet")) == [1]
    assert (episodes.count(), episodes.count(since=NOW + timedelta(days=1))) == (3, 1)


def test_every_key_has_a_time_to_live_and_the_agents_tag(episodes: EpisodicStore, client: redis.Redis) -> None:
    episodes.get_recent()
    episodes.record("bet", {"n": 1})
    keys = [key.decode() if isinstance(key, bytes) else key for key in client.scan_iter()]
    assert sorted(keys) == ["as:{ag_7}:episodes:generation", COPY]
    assert 0 < client.ttl(COPY) <= 300
    assert all(client.ttl(key) > 0 for key in keys)


def test_agents_do_not_see_each_other(world: EpisodeWorld) -> None:
    mine = world.process("a").record("bet", {"n": 1})
    assert world.process("b").get_recent() == world.process("b").between(NOW) == []
    assert world.process("b").find(mine.id) is None
    with pytest.raises(NotFound):
        world.process("b").update_outcome(mine.id, {"won": True})


def test_one_episode_is_found_by_its_id(episodes: EpisodicStore) -> None:
    bet = episodes.record("bet", {"n": 1})
    assert episodes.get(bet.id) == episodes.find(bet.id) == bet
    assert episodes.find(uuid4()) is None
    with pytest.raises(NotFound):
        episodes.get(uuid4())


@pytest.mark.parametrize("line", ['[3,"ag_7","shape"]', '{"v":1}', "no JSON"])
def test_a_record_of_another_version_hides_no_other(
    episodes: EpisodicStore, client: redis.Redis, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    episodes.record("bet", {"n": 1})
    episodes.get_recent()
    client.zadd(COPY, {line: (NOW.timestamp() + 1) * 1e6})
    assert numbers(episodes.get_recent()) == [1]
    assert "skipped" in caplog.text


def test_a_window_is_counted_by_type(episodes: EpisodicStore) -> None:
    episodes.record("bet", {}, at=NOW - timedelta(hours=3))
    bet = episodes.record("bet", {}, at=NOW - timedelta(hours=2))
    episodes.record("trade", {}, at=NOW)
    episodes.update_outcome(bet, {"won": True})  # counts once, however often its outcome changes
    assert episodes.summarize_window(NOW - timedelta(hours=2)) == {
        "total_events": 2,
        "by_type": {"bet": 1, "trade": 1},
        "first_at": NOW - timedelta(hours=2),
        "last_at": NOW,
        "time_span_hours": 2.0,
    }
    empty = episodes.summarize_window(NOW + timedelta(minutes=1))
    assert (empty["total_events"], empty["first_at"], empty["time_span_hours"]) == (0, None, 0.0)


def test_counts_of_recent_mean_what_they_say(episodes: EpisodicStore) -> None:
    episodes.record("bet", {"n": 1})
    assert episodes.get_recent(0) == []
    with pytest.raises(InvalidInput):
        episodes.get_recent(-1)
    with pytest.raises(InvalidInput):
        episodes.between(NOW, limit=0)


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
    with pytest.raises(error):
        episodes.record_many([("bet", {"n": 1}, None, None), (event_type, payload, None, at)])
    assert episodes.count() == 0


def test_many_are_recorded_in_order_or_not_at_all(episodes: EpisodicStore) -> None:
    assert episodes.record_many([]) == []
    recorded = episodes.record_many([("tick", {"n": n}, {"ok": n}, None) for n in range(1_200)])
    assert recorded[::-1][:50] == episodes.get_recent(50) == episodes.get_recent(50)
    assert episodes.between(NOW, limit=2_000) == recorded[::-1]


def test_many_in_any_order_of_time_leave_the_newest_in_redis(episodes: EpisodicStore) -> None:
    episodes.get_recent()
    times = [NOW - timedelta(seconds=(n * 37) % 200) for n in range(200)]
    episodes.record_many([("tick", {"n": n}, None, at) for n, at in enumerate(times)])
    assert episodes.get_recent(50) == episodes.between(NOW - timedelta(hours=1))[:50]


def test_an_episode_exists_exactly_if_the_callers_transaction_commits(episodes: EpisodicStore, store: Store) -> None:
    episodes.get_recent()
    with suppress(InvalidInput), store.transaction() as tx:
        episodes.record("bet", {"n": 1}, tx=tx)
        episodes.record("no type", {}, tx=tx)
    assert episodes.get_recent() == []
    with store.transaction() as tx:
        bet = episodes.record("bet", {"n": 2}, tx=tx)
        episodes.update_outcome(bet, {"won": True}, tx=tx)
    with store.ambient_transaction():
        episodes.record_many([("bet", {"n": 3}, None, None)])
    assert numbers(episodes.get_recent()) == numbers(episodes.between(NOW)) == [3, 2]
    assert episodes.get_recent()[1].outcome == {"won": True}


def test_an_outcome_is_kept_with_every_change(
    world: EpisodeWorld, episodes: EpisodicStore, client: redis.Redis
) -> None:
    bet = episodes.record("bet", {"n": 1})
    episodes.get_recent()
    episodes.update_outcome(bet, {"won": True})
    client.flushdb()
    again = episodes.update_outcome(bet.id, {"won": False, "note": "recounted"})
    assert (again.revision, world.rows()) == (2, 3)
    for found in (episodes.get(bet.id), *episodes.get_recent(), *episodes.get_recent(), *episodes.get_recent(5, "bet")):
        assert (found.payload, found.outcome) == ({"n": 1}, {"won": False, "note": "recounted"})
    with pytest.raises(NotFound):
        episodes.update_outcome(uuid4(), {})
    with pytest.raises(TooLarge):
        episodes.update_outcome(bet, "x" * 70_000)


def test_an_outcome_that_redis_learns_before_its_episode_shows_once(
    world: EpisodeWorld, episodes: EpisodicStore
) -> None:
    """The push of the first revision comes last, as from a process that was held up after its commit."""
    other = episodes.record("bet", {"n": 0})
    bet = episodes.record("bet", {"n": 1})
    episodes.get_recent()
    changed = episodes.update_outcome(bet, {"won": True})
    assert episodes._recent is not None
    episodes._recent.push_episodes("ag_7", [bet], 2, kept=50)
    assert episodes.get_recent() == [changed, other]
    assert episodes.get_recent() == [changed, other]


def test_the_table_is_append_only(episodes: EpisodicStore, world: EpisodeWorld) -> None:
    episodes.record("bet", {"n": 1})
    for rewriting in ("UPDATE episodes SET event_type = 'gift'", "DELETE FROM episodes"):
        with pytest.raises(DatabaseError), world.store.transaction() as tx:
            tx.connection.execute(sa.text(rewriting))
    assert world.rows() == 1


def test_scripts_survive_a_flush(episodes: EpisodicStore, client: redis.Redis) -> None:
    episodes.record("bet", {"n": 1})
    episodes.get_recent()
    client.flushdb()
    client.script_flush()
    episodes.record("bet", {"n": 2})
    assert numbers(episodes.get_recent()) == [2, 1]


def test_limits_are_an_agents_own(world: EpisodeWorld) -> None:
    limits: Any = {"ag_7": {"kept": 5, "ttl_s": 3_600}}
    world.settings = Settings.load(database_url="sqlite:///unused.db", episodes_limits=limits)
    small, usual = world.process("ag_7"), world.process("ag_8")
    assert (small.kept, small.ttl_s) == (5, 3_600)
    assert (usual.kept, usual.ttl_s) == (500, 604_800)


def test_without_redis_everything_is_the_same(world: EpisodeWorld) -> None:
    with redis.Redis(port=9, retry=Retry(NoBackoff(), 0)) as nowhere:
        for episodes in (world.without_redis("a"), world.process("b", client=nowhere)):
            bet = episodes.record("bet", {"n": 1})
            episodes.record_many([("trade", {"n": 2}, None, None)])
            ended = episodes.update_outcome(bet, {"won": True})
            assert numbers(episodes.get_recent()) == [2, 1]
            assert episodes.get_recent(1, "bet") == [ended] == [episodes.get(bet.id)]
            assert episodes.summarize_window(NOW)["total_events"] == episodes.count() == 2


def test_a_store_that_is_away_is_named(client: redis.Redis, world: EpisodeWorld) -> None:
    world.store = Store.open("postgresql+psycopg://nobody@127.0.0.1:1/none")
    episodes = world.process()
    for call in (lambda: episodes.record("bet", {}), episodes.get_recent, episodes.count):
        with pytest.raises(StoreUnavailable):
            call()


@pytest.mark.parametrize(
    ("payload", "outcome", "place"),
    [
        ({"api_key": "abc"}, None, "payload.api_key"),
        ({"a": [{"note": "Bearer " + "a1B2" * 8}]}, None, r"payload\.a\[0\]\.note"),
        ({"n": 1}, {"secret": "hunter2"}, "outcome.secret"),  # pragma: allowlist secret
        ({"url": "redis://ann:" + "hunter2" + "@h/0"}, None, "payload.url"),
        ({"pem": "-----BEGIN " + "PRIVATE" + " KEY-----"}, None, "payload.pem"),
        ({"signer": "0x" + "ab" * 32}, None, "payload.signer"),
    ],
)
def test_an_episode_with_a_secret_is_refused_by_its_place(
    episodes: EpisodicStore, payload: dict[str, Any], outcome: Any, place: str
) -> None:
    with pytest.raises(InvalidInput, match=place) as caught:
        episodes.record("bet", payload, outcome)
    assert not any(word in str(caught.value) for word in ("hunter2", "a1B2", "abc", "abab"))
    kept = episodes.record("bet", {"n": 1})
    with pytest.raises(InvalidInput):
        episodes.update_outcome(kept, {"password": "hunter2"})  # pragma: allowlist secret
    assert [one.outcome for one in episodes.get_recent()] == [None]
