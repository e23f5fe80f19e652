"""Live updates on both databases with a real Redis: in order, none missed, whatever ends in between."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import redis

from agentstate.agent import Fleet
from agentstate.errors import Fenced, InvalidInput, UpdatesLost
from agentstate.runtime import REDIS_CONNECTIONS, Runtime
from agentstate.settings import Settings
from agentstate.state import update_log, updates
from agentstate.state.update_log import Update
from agentstate.state.update_stream import UpdateStream
from agentstate.state.updates import StateSync
from agentstate.store import Store

PATIENCE_S = 30.0


@pytest.fixture
def sync(store: Store, client: redis.Redis) -> StateSync:
    return StateSync(store, lambda agent_id: UpdateStream(client, agent_id), "ag_u")


@pytest.fixture
def away(store: Store) -> Iterator[StateSync]:
    """The same of a process that cannot reach Redis."""
    with redis.Redis(host="127.0.0.1", port=9, retry=None) as nobody:
        yield StateSync(store, lambda agent_id: UpdateStream(nobody, agent_id), "ag_u")


@pytest.fixture(autouse=True)
def _quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "WAIT_S", 0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers look into the store often."""
    monkeypatch.setattr(updates, "LOOK_S", 0.05)


def publish(sync: StateSync, *values: object) -> None:
    for value in values:
        sync.publish_update("price", value)


class Seen:
    """A handler that hands what it gets to the test."""

    def __init__(self, *, fails_at: object = None) -> None:
        self._got: queue.Queue[Update] = queue.Queue()
        self._fails_at = fails_at

    def __call__(self, update: Update) -> None:
        self._got.put(update)
        if update.value == self._fails_at:
            raise ZeroDivisionError

    def values(self, count: int) -> list[object]:
        return [self._got.get(timeout=PATIENCE_S).value for _ in range(count)]


@pytest.mark.guide_defect(94)
def test_values_come_as_they_were(sync: StateSync) -> None:
    with sync.subscribe(seen := Seen(), since=0):
        publish(sync, Decimal("2.50"), None, {"a": [1]})
        got = seen.values(3)
    assert got == [Decimal("2.50"), None, {"a": [1]}]
    assert isinstance(got[0], Decimal)


@pytest.mark.guide_defect(95)
def test_what_was_published_before_the_subscription_can_be_had(sync: StateSync) -> None:
    publish(sync, 1, 2)
    with sync.subscribe(from_begin := Seen(), since=0), sync.subscribe(from_now := Seen()):
        publish(sync, 3)
        assert from_begin.values(3) == [1, 2, 3]
        assert from_now.values(1) == [3]


@pytest.mark.guide_defect(96)
def test_a_handler_that_fails_gets_the_next_ones(sync: StateSync, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, str]] = []
    seen = Seen(fails_at=2)
    with sync.subscribe(
        seen, since=0, on_error=lambda update, error: told.append((update.seq, type(error).__name__))
    ) as subscription:
        publish(sync, 1, 2, 3)
        assert seen.values(3) == [1, 2, 3]
        assert subscription.is_running
    assert (subscription.errors, told) == (1, [(2, "ZeroDivisionError")])
    assert "a handler failed at update 2" in caplog.text


@pytest.mark.guide_defect(97)
@pytest.mark.usefixtures("impatient")
def test_killed_connections_lose_nothing(sync: StateSync, client: redis.Redis, redis_url: str) -> None:
    with sync.subscribe(seen := Seen(), since=0) as subscription, redis.Redis.from_url(redis_url) as other:
        publish(sync, 1)
        assert seen.values(1) == [1]
        other.client_kill_filter(_type="normal", skipme=True)
        publish(sync, 2, 3)
        assert seen.values(2) == [2, 3]
        assert subscription.is_running
    client.ping()


@pytest.mark.guide_defect(98)
def test_each_of_two_subscriptions_gets_every_update(sync: StateSync) -> None:
    with sync.subscribe(first := Seen(), since=0), sync.subscribe(second := Seen(), since=0):
        publish(sync, *range(20))
        assert first.values(20) == second.values(20) == list(range(20))


@pytest.mark.guide_defect(99)
def test_agents_apart_numbered_and_with_the_write(sync: StateSync, store: Store, client: redis.Redis) -> None:
    other = StateSync(store, lambda agent_id: UpdateStream(client, agent_id), "ag_v")
    publish(sync, "mine")
    publish(other, "theirs")
    assert [(u.agent_id, u.seq, u.value) for u in sync.read_since(0)] == [("ag_u", 1, "mine")]

    def give_up() -> None:
        with store.transaction() as tx:
            sync.publish_update("price", "never", tx=tx)
            assert sync._stream.append_missing([]) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    with store.transaction() as tx:
        sync.publish_update("price", "with the write", tx=tx)
    assert [update.value for update in sync.read_since(0)] == ["mine", "with the write"]
    assert [update.seq for update in sync.read_since(0)] == [1, 2]


def test_listeners_of_the_channel_hear_each_update_once(sync: StateSync, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("as:{ag_u}:updates")
        publish(sync, 1, 2)
        sync.push_to_stream()
        messages = itertools.islice(channel.listen(), 2)
        heard = [Update.from_json(message["data"].decode()).value for message in messages]
    assert heard == [1, 2]


def test_many_publishers_make_one_order_without_gaps(sync: StateSync) -> None:
    with sync.subscribe(seen := Seen(), since=0), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: sync.publish_update("price", number), range(40)))
        got = seen.values(40)
    assert sorted(map(str, got)) == sorted(map(str, range(40)))
    stored = sync.read_since(0)
    assert [update.seq for update in stored] == list(range(1, 41))
    assert [update.value for update in stored] == got


@pytest.mark.usefixtures("impatient")
def test_what_a_dead_publisher_did_not_bring_is_brought(sync: StateSync, away: StateSync, client: redis.Redis) -> None:
    publish(sync, 1)
    publish(away, 2)  # committed, and nobody was told
    assert sync._stream.append_missing([]) == 1
    with sync.subscribe(seen := Seen(), since=1):
        assert seen.values(1) == [2]
    assert sync._stream.append_missing([]) == 2
    client.flushall()
    publish(away, 3)
    publish(sync, 4)
    assert [update.value for update in sync.read_since(0)] == [1, 2, 3, 4]
    assert sync._stream.append_missing([]) == 4


@pytest.mark.usefixtures("impatient")
def test_readers_go_on_while_redis_is_emptied_or_away(sync: StateSync, away: StateSync, client: redis.Redis) -> None:
    with sync.subscribe(seen := Seen(), since=0), away.subscribe(apart := Seen(), since=0):
        publish(sync, 1)
        assert seen.values(1) == [1]
        client.flushall()
        publish(sync, 2)
        assert seen.values(1) == [2]
        assert apart.values(2) == [1, 2]


def test_a_reader_goes_on_where_it_was(sync: StateSync) -> None:
    publish(sync, *range(5))
    stop = threading.Event()
    first = list(itertools.islice(sync.listen(0, stop=stop), 3))
    second = list(itertools.islice(sync.listen(first[-1].seq, stop=stop), 2))
    assert [update.value for update in [*first, *second]] == list(range(5))


def test_beyond_what_is_kept_the_reader_is_told(sync: StateSync, store: Store, client: redis.Redis) -> None:
    publish(sync, *range(10))
    with store.transaction() as tx:
        assert update_log.remove_old(tx, kept=4, ttl_s=3_600, agents=10) == 6
        assert update_log.remove_old(tx, kept=4, ttl_s=3_600, agents=10) == 0
    client.flushall()
    with pytest.raises(UpdatesLost, match="updates 3 to 6 of ag_u are no longer kept") as raised:
        sync.read_since(2)
    assert raised.value.resume_from == 6
    with pytest.raises(UpdatesLost):
        sync.subscribe(Seen(), since=2)
    assert [update.value for update in sync.read_since(6)] == [6, 7, 8, 9]
    with pytest.raises(InvalidInput, match="none with number 11"):
        sync.read_since(11)


@pytest.mark.usefixtures("impatient")
def test_a_slow_reader_is_told_how_many_it_lost(sync: StateSync, store: Store, client: redis.Redis) -> None:
    entered, leave, got = threading.Event(), threading.Event(), Seen()

    def slow(update: Update) -> None:
        entered.set()
        assert leave.wait(PATIENCE_S)
        got(update)

    publish(sync, 0)
    with sync.subscribe(slow, since=0) as subscription:
        assert entered.wait(PATIENCE_S)
        publish(sync, *range(1, 10))
        assert subscription.lag() == 10
        with store.transaction() as tx:
            update_log.remove_old(tx, kept=2, ttl_s=3_600, agents=10)
        client.flushall()
        leave.set()
        assert got.values(3) == [0, 8, 9]
    assert subscription.lost == 7


def test_old_ones_are_removed_by_age(sync: StateSync, store: Store) -> None:
    publish(sync, 1, 2)
    with store.transaction() as tx:
        assert update_log.remove_old(tx, kept=100, ttl_s=-60, agents=10) == 2
    assert sync.last_seq() == 2
    publish(sync, 3)
    assert [update.seq for update in sync.read_since(2)] == [3]


def test_a_subscription_stops_when_told(sync: StateSync) -> None:
    subscription = sync.subscribe(Seen())
    assert subscription.is_running
    assert subscription.stop()
    assert not subscription.is_running


def test_a_handler_may_stop_its_own_subscription(sync: StateSync) -> None:
    holder: list[Callable[[], bool]] = []
    seen = Seen()

    def once(update: Update) -> None:
        seen(update)
        holder[0]()

    publish(sync, 1)
    subscription = sync.subscribe(once)
    holder.append(subscription.stop)
    publish(sync, 2, 3)
    assert seen.values(1) == [2]
    assert subscription.stop()
    assert subscription.seq == 2


def test_asyncio_readers(sync: StateSync) -> None:
    async def read() -> list[object]:
        got = []
        async for update in sync.listen_async(0):
            got.append(update.value)
            if len(got) == 3:
                break
        return got

    async def both() -> list[object]:
        reader = asyncio.create_task(read())
        await asyncio.to_thread(publish, sync, 1, 2, 3)
        return await asyncio.wait_for(reader, PATIENCE_S)

    assert asyncio.run(both()) == [1, 2, 3]


def test_a_group_shares_the_work(sync: StateSync) -> None:
    publish(sync, *range(5))
    first, second, others = sync.group("risk"), sync.group("risk"), sync.group("tax")
    batch = first.take(3)
    assert batch is not None
    assert [update.value for update in batch.updates] == [0, 1, 2]
    assert second.take() is None  # in order: the rest waits for the first
    first.acknowledge(batch)
    rest = second.take()
    assert rest is not None
    assert [update.value for update in rest.updates] == [3, 4]
    second.release(rest)
    again = first.take()
    assert again is not None
    assert again.updates == rest.updates
    first.acknowledge(again)
    assert (first.seq(), others.seq()) == (5, 0)
    assert first.take() is None
    mine = others.take()
    assert mine is not None
    assert len(mine.updates) == 5


def test_a_member_that_died_is_replaced_and_its_late_word_refused(sync: StateSync) -> None:
    publish(sync, 1)
    dead, alive = sync.group("risk"), sync.group("risk")
    lost = dead.take(lease_s=0.001)
    batch = None
    while batch is None:
        batch = alive.take()
    assert lost is not None
    assert batch.updates == lost.updates
    with pytest.raises(Fenced, match="went to another member"):
        dead.acknowledge(lost)
    alive.acknowledge(batch)
    assert alive.seq() == 1


def test_a_group_that_is_too_late_is_told_and_can_go_on(sync: StateSync, store: Store) -> None:
    group = sync.group("risk")
    publish(sync, *range(10))
    first = group.take(1)
    assert first is not None
    group.acknowledge(first)
    with store.transaction() as tx:
        update_log.remove_old(tx, kept=2, ttl_s=3_600, agents=10)
    with pytest.raises(UpdatesLost) as raised:
        group.take()
    group.skip_to(raised.value.resume_from)
    batch = group.take()
    assert batch is not None
    assert [update.value for update in batch.updates] == [8, 9]


def test_all_keys_expire(sync: StateSync, client: redis.Redis) -> None:
    publish(sync, 1)
    keys = client.keys("*")
    assert keys
    assert all(client.ttl(key) > 0 for key in keys)


def test_bad_input_is_named_and_publishes_nothing(sync: StateSync) -> None:
    for field, value in (("no spaces", 1), ("x", 0.1), ("x", object()), ("api_key", "pf_test_123456789")):
        with pytest.raises(InvalidInput):
            sync.publish_update(field, value)
    with pytest.raises(InvalidInput, match="must be over 0"):
        sync.group("risk").take(0)
    assert sync.last_seq() == 0


def test_many_who_listen_take_no_connection_from_the_others(settings: Settings) -> None:
    runtime = Runtime(settings)
    agent = Fleet(runtime).agent("ag_crowd")
    subscriptions = [agent.updates.subscribe(lambda _update: None) for _ in range(REDIS_CONNECTIONS + 4)]
    agent.profile.set_field("mood", "calm")
    assert agent.profile.get_field("mood") == "calm"
    assert agent.episodes.get_recent() == []
    with ThreadPoolExecutor(len(subscriptions)) as pool:
        assert all(pool.map(lambda subscription: subscription.stop(PATIENCE_S), subscriptions))
    runtime.close()
