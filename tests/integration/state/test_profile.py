"""Profiles on both databases with a real Redis beside them: exact, atomic, and never older than what was written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import redis
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentstate.errors import Conflict, InvalidInput, TooLarge
from agentstate.state import profile as profiles
from agentstate.state.profile import AgentProfile
from agentstate.state.profile_cache import WRITING_S, ProfileCache
from agentstate.store import Store
from agentstate.store.tables import profile_fields
from agentstate.store.tables.base import db_time


@pytest.fixture
def profile(store: Store, client: redis.Redis) -> AgentProfile:
    return AgentProfile(store, ProfileCache(client, "ag_p"), "ag_p")


@pytest.fixture
def away(store: Store) -> Iterator[AgentProfile]:
    """The same profile of a process that cannot reach Redis."""
    with redis.Redis(host="127.0.0.1", port=9, retry=None) as nobody:
        yield AgentProfile(store, ProfileCache(nobody, "ag_p"), "ag_p")


def test_values_come_back_as_they_were(profile: AgentProfile) -> None:
    values = {"limit": Decimal("2.50"), "since": datetime(2026, 1, 2, tzinfo=UTC), "tags": ["a", None], "zero": 0}
    profile.set_fields(values)
    for _from in ("the store", "the copy"):
        assert profile.snapshot() == values
        assert profile.get_field("limit") == Decimal("2.50")
        assert isinstance(profile.get_field("limit"), Decimal)


@pytest.mark.guide_defect(87)
def test_a_field_that_holds_a_number_can_be_counted_on(profile: AgentProfile) -> None:
    profile.set_field("sessions", 5)
    assert profile.increment("sessions") == 6
    profile.set_field("limit", Decimal("5.0"))
    with pytest.raises(InvalidInput, match="the field limit is Decimal"):
        profile.increment("limit")
    assert profile.get_field("limit") == Decimal("5.0")
    assert [profile.increment_session(), profile.increment_session()] == [1, 2]


@pytest.mark.guide_defect(88)
def test_none_is_not_the_same_as_missing(profile: AgentProfile) -> None:
    profile.set_field("mood", None)
    assert profile.get_field("mood", "missing") is None
    assert profile.get_field("other", "missing") == "missing"
    assert profile.find_field("other") is None


@pytest.mark.guide_defect(89)
def test_all_keys_expire(profile: AgentProfile, client: redis.Redis) -> None:
    profile.set_field("mood", "calm")
    profile.snapshot()
    keys = client.keys("*")
    assert keys
    assert all(client.ttl(key) > 0 for key in keys)


@pytest.mark.guide_defect(90)
def test_no_increment_is_lost(profile: AgentProfile) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _number: profile.increment("bets"), range(80)))
    assert profile.get_field("bets") == 80


@pytest.mark.guide_defect(91)
@pytest.mark.parametrize("decode", [False, True])
def test_any_client_gives_text(store: Store, redis_url: str, *, decode: bool) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=decode) as client:
        profile = AgentProfile(store, ProfileCache(client, "ag_p"), "ag_p")
        profile.set_field("mood", "très calme")
        assert [profile.snapshot(), profile.snapshot()] == [{"mood": "très calme"}] * 2


@pytest.mark.guide_defect(92)
def test_one_bad_field_spoils_no_other(profile: AgentProfile, store: Store, client: redis.Redis) -> None:
    profile.set_fields({"good": 1, "bad": 2})
    with store.transaction() as tx:
        bad = profile_fields.c.field == "bad"
        tx.connection.execute(profile_fields.update().where(bad).values(value='{"$":["from-the-future","x"]}'))
    client.flushall()
    snapshot = profile.snapshot()
    assert snapshot == {"good": 1}
    assert list(snapshot.unreadable) == ["bad"]
    with pytest.raises(InvalidInput):
        profile.get_field("bad")


@pytest.mark.guide_defect(93)
def test_several_fields_are_set_together_or_not_at_all(profile: AgentProfile) -> None:
    with pytest.raises(InvalidInput):
        profile.set_fields({"a": 1, "b": 0.5})
    assert profile.snapshot() == {}
    seen: list[set[int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(set(profile.snapshot().values()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        profile.set_fields(dict.fromkeys(("a", "b", "c"), number))
    done.set()
    reader.join()
    assert all(len(values) <= 1 for values in seen)


def test_it_is_there_after_redis_was_emptied(profile: AgentProfile, client: redis.Redis) -> None:
    profile.set_field("mood", "calm")
    profile.snapshot()
    client.flushall()
    assert profile.snapshot() == {"mood": "calm"}


def test_it_works_without_redis(away: AgentProfile, profile: AgentProfile) -> None:
    away.set_field("mood", "calm")
    assert away.snapshot() == {"mood": "calm"}
    assert profile.snapshot() == {"mood": "calm"}


def test_a_writer_states_the_version_it_has_seen(profile: AgentProfile) -> None:
    assert profile.set_field("plan", "a", version=0) == 1
    assert profile.set_field("plan", "b", version=1) == 2
    with pytest.raises(Conflict, match="has version 2, not 1"):
        profile.set_field("plan", "c", version=1)
    with pytest.raises(Conflict):
        profile.set_field("plan", "c", version=0)
    assert profile.delete_field("plan", version=2)
    assert not profile.delete_field("plan")
    assert profile.find_field("plan") is None
    # What was removed and set again is not what was seen before.
    assert profile.set_field("plan", "d", version=0) == 4


def test_of_two_who_saw_the_same_one_is_told(profile: AgentProfile) -> None:
    profile.set_field("plan", 0)

    def take(number: int) -> bool:
        try:
            profile.set_field("plan", number, version=1)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_a_field_goes_when_its_time_is_over(profile: AgentProfile, store: Store) -> None:
    profile.set_field("hint", "sell", ttl_s=3_600)
    profile.set_field("mood", "calm")
    entry = profile.find_field("hint")
    assert entry is not None
    assert entry.expires_at is not None
    with store.transaction() as tx:  # an hour later
        tx.connection.execute(
            profile_fields.update().where(profile_fields.c.field == "hint").values(expires_at=db_time(-1.0))
        )
    cache = profile._cache
    cache.end_write(cache.begin_write())
    assert profile.snapshot() == {"mood": "calm"}
    assert profile.set_field("hint", "buy", version=0) == 2
    assert profile.find_field("hint") == profiles.ProfileField("buy", 2, None)


def test_the_copy_drops_a_field_when_its_time_is_over(profile: AgentProfile, client: redis.Redis) -> None:
    profile.set_field("hint", "sell", ttl_s=3_600)
    profile.snapshot()
    key = "as:{ag_p}:profile"
    assert client.hexists(key, "hint")
    raw = client.hget(key, "hint")
    assert raw is not None
    client.hset(key, "hint", b"1|" + raw.split(b"|", 1)[1])
    assert profile.snapshot() == {}


def test_a_reader_never_keeps_what_a_write_replaced(profile: AgentProfile, store: Store) -> None:
    """A reader that looked before a write and fills the copy after it must not bring the old value back."""
    profile.set_field("mood", "calm")
    look = profile._cache.read_copy()
    assert look.generation is not None
    old = profile._load_fields()
    profile.set_field("mood", "angry")
    profile._cache.fill_copy(look.generation, old)
    assert profile.get_field("mood") == "angry"
    # Nor while a writer is still at it.
    with store.transaction() as tx:
        profile.set_field("mood", "glad", tx=tx)
        assert profile._cache.read_copy().generation is None
    assert profile.get_field("mood") == "glad"


def test_a_writer_that_dies_blocks_the_copy_for_a_while_only(profile: AgentProfile, client: redis.Redis) -> None:
    profile.set_field("mood", "calm")
    profile._cache.begin_write()
    assert profile._cache.read_copy().generation is None
    writers = "as:{ag_p}:profile:writers"
    [(token, until)] = client.zrange(writers, 0, -1, withscores=True)
    client.zadd(writers, {token: float(until) - (WRITING_S + 1) * 1_000})
    assert profile._cache.read_copy().generation is not None
    assert profile.snapshot() == {"mood": "calm"}


def test_a_rolled_back_write_changes_nothing(profile: AgentProfile, store: Store) -> None:
    profile.set_field("mood", "calm")

    def give_up() -> None:
        with store.transaction() as tx:
            profile.set_field("mood", "angry", tx=tx)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert profile.snapshot() == {"mood": "calm"}


def test_agents_do_not_see_each_other(profile: AgentProfile, store: Store, client: redis.Redis) -> None:
    other = AgentProfile(store, ProfileCache(client, "ag_q"), "ag_q")
    profile.set_field("mood", "calm")
    assert other.snapshot() == {}
    other.set_field("mood", "angry")
    assert profile.snapshot() == {"mood": "calm"}


def test_bad_input_is_named_and_changes_nothing(profile: AgentProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    profile.set_field("mood", "calm")
    for field, value in (("no spaces", 1), ("", 1), ("x", 0.1), ("x", object()), ("api_key", "pf_test_123456789")):
        with pytest.raises(InvalidInput):
            profile.set_field(field, value)
    for ttl_s in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="time to live"):
            profile.set_field("x", 1, ttl_s=ttl_s)
    with pytest.raises(TooLarge, match="over the limit"):
        profile.set_field("x", "x" * 70_000)
    monkeypatch.setattr(profiles, "MAX_FIELDS", 1)
    with pytest.raises(TooLarge, match="which is the limit"):
        profile.set_field("y", 1)
    assert profile.snapshot() == {"mood": "calm"}


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "increment", "flush", "read"]), st.sampled_from("ab"), st.integers(-3, 3)
    ),
    max_size=15,
)


@given(operations=OPERATIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plain_dict_says_the_same(
    profile: AgentProfile, client: redis.Redis, store: Store, operations: list[tuple[str, str, int]]
) -> None:
    with store.transaction() as tx:
        tx.connection.execute(sa.delete(profile_fields))
    client.flushall()
    model: dict[str, int] = {}
    for verb, field, number in operations:
        if verb == "set":
            profile.set_field(field, number)
            model[field] = number
        elif verb == "delete":
            assert profile.delete_field(field) == (model.pop(field, None) is not None)
        elif verb == "increment":
            model[field] = model.get(field, 0) + number
            assert profile.increment(field, number) == model[field]
        elif verb == "flush":
            client.flushall()
        assert profile.snapshot() == model
