"""The state cache over a real Redis and the running sandbox: one read for all, honest about age, safe without Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from agentstate.clock import utc_now
from agentstate.errors import InvalidInput, ServiceRejected
from agentstate.services import casino, escrow, faucet
from agentstate.services.cache import StateCache
from agentstate.services.entries import Quality, Stored
from agentstate.services.gateway import Gateway
from agentstate.services.names import TTL_S, Service
from agentstate.services.shelf import LocalShelf, RedisShelf


class Now:
    """A clock that tests put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def pass_s(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class CountingGateway(Gateway):
    """A real gateway that counts its reads and can be held in the middle of one."""

    reads = 0
    in_read: threading.Event | None = None
    go_on: threading.Event | None = None

    def read(self, agent_id: str, service: Service, view: str = "state", **query: str) -> dict[str, Any]:
        self.reads += 1
        body = super().read(agent_id, service, view, **query)
        if self.in_read is not None and self.go_on is not None:
            self.in_read.set()
            assert self.go_on.wait(5)
        return body


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def counting(gateway: Gateway, sandbox: Any) -> Iterator[CountingGateway]:
    counting = CountingGateway(sandbox.api, SecretStr("pf_test_sandbox"), deadline_s=5)
    yield counting
    counting.close()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url, socket_timeout=2)
    yield client
    client.close()


@pytest.fixture
def nowhere() -> Iterator[Redis]:
    """A client of a Redis that is not there."""
    client = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None)
    yield client
    client.close()


@pytest.fixture(params=["redis", "process"])
def cache(request: pytest.FixtureRequest, counting: CountingGateway, now: Now) -> StateCache:
    """A cache over Redis, and one without."""
    redis = request.getfixturevalue("redis") if request.param == "redis" else None
    return StateCache(counting, redis, clock=now)


def test_a_live_entry_is_read_once(cache: StateCache, counting: CountingGateway, rich: str) -> None:
    first, second = cache.get(rich, "casino"), cache.get(rich, "casino")
    assert counting.reads == 1
    assert (first.quality, second.quality) == (Quality.LIVE, Quality.LIVE)
    assert second.state == first.state
    assert second.state is not None
    assert second.state["balance_usd"] == Decimal(100)
    assert second.funds is not None
    assert second.funds.worth == 100_000_000


@pytest.mark.parametrize("service", list(Service))
def test_an_entry_lives_as_long_as_its_service_says(
    cache: StateCache, counting: CountingGateway, rich: str, now: Now, service: Service
) -> None:
    cache.get(rich, service)
    now.pass_s(TTL_S[service] - 1)
    assert cache.get(rich, service).age_s == pytest.approx(TTL_S[service] - 1, abs=0.9)
    assert counting.reads == 1
    now.pass_s(2)
    assert cache.get(rich, service).age_s == pytest.approx(0, abs=0.9)
    assert counting.reads == 2


def test_force_refresh_and_refresh_ask_the_service(cache: StateCache, counting: CountingGateway, rich: str) -> None:
    cache.get(rich, "wallet")
    cache.get(rich, "wallet", force_refresh=True)
    cache.refresh(rich, "wallet")
    assert counting.reads == 3


def test_changing_what_was_read_changes_nothing_for_others(cache: StateCache, rich: str) -> None:
    first = cache.get(rich, "casino")
    assert first.state is not None
    first.state["balance_usd"] = Decimal(0)
    second = cache.get(rich, "casino")
    assert second.state is not None
    assert second.state["balance_usd"] == Decimal(100)


def test_an_operation_spoils_all_three_services_that_share_the_balance(
    cache: StateCache, gateway: Gateway, rich: str
) -> None:
    for service in ("casino", "escrow", "faucet", "trading"):
        cache.get(rich, service)
    faucet.claim.call(gateway, rich, "f")
    cache.invalidate(rich, "faucet")
    casino_funds, claimed = cache.get(rich, "casino").funds, cache.get(rich, "faucet").state
    assert casino_funds is not None
    assert casino_funds.cash == 101_000_000
    assert claimed is not None
    assert claimed["can_claim"] is False


def test_a_read_that_began_before_an_operation_does_not_come_back(
    cache: StateCache, counting: CountingGateway, gateway: Gateway, rich: str
) -> None:
    counting.in_read, counting.go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, rich, "casino")
        assert counting.in_read.wait(5)
        casino.deposit.call(gateway, rich, "more", amount="50")
        cache.invalidate(rich, "casino")
        counting.go_on.set()
        slow.result(5)
    funds = cache.get(rich, "casino").funds
    assert funds is not None
    assert funds.cash == 150_000_000


def test_many_readers_of_a_missing_entry_make_one_call(
    redis: Redis, sandbox: Any, gateway: Gateway, counting: CountingGateway, rich: str
) -> None:
    sandbox.client.plan({"fault": "slow:100", "operation": "state"})
    caches = [StateCache(counting, redis) for _ in range(3)]
    with ThreadPoolExecutor(48) as pool:
        found = list(pool.map(lambda number: caches[number % 3].get(rich, "casino"), range(96)))
    assert counting.reads == 1
    assert {entry.quality for entry in found} == {Quality.LIVE}


def test_many_readers_of_a_service_that_is_down_share_the_failure(
    sandbox: Any, counting: CountingGateway, rich: str
) -> None:
    sandbox.client.plan({"fault": "html_502", "operation": "state"})
    cache = StateCache(counting)
    barrier = threading.Barrier(16)

    def read(_: int) -> Quality:
        barrier.wait(5)
        return cache.get(rich, "casino").quality

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(read, range(16))) == {Quality.UNKNOWN}
    assert counting.reads < 16


def test_a_service_that_fails_leaves_a_stale_entry_and_later_none(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str, now: Now
) -> None:
    cache.get(rich, "casino")
    sandbox.client.plan({"fault": "html_502", "operation": "state"})
    now.pass_s(50)
    stale = cache.get(rich, "casino")
    assert stale.quality is Quality.STALE
    assert stale.age_s == pytest.approx(50, abs=1)
    assert stale.funds is not None
    assert stale.reason is not None
    assert "502" in stale.reason
    now.pass_s(51)
    unknown = cache.get(rich, "casino")
    assert (unknown.quality, unknown.state, unknown.funds) == (Quality.UNKNOWN, None, None)


@pytest.mark.parametrize("fault", ["html_502", "truncate_json", "commit_then_drop", "429_short"])
def test_what_cannot_be_read_is_unknown_and_not_zero(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str, fault: str
) -> None:
    sandbox.client.plan({"fault": fault, "operation": "state"})
    entry = cache.get(rich, "casino")
    assert (entry.quality, entry.state, entry.as_of) == (Quality.UNKNOWN, None, None)
    sandbox.client.plan()
    assert cache.get(rich, "casino").quality is Quality.LIVE


def test_an_unknown_agent_is_an_error_and_leaves_nothing(cache: StateCache, counting: CountingGateway) -> None:
    for _ in range(2):
        with pytest.raises(ServiceRejected, match="agent_not_found"):
            cache.get("nobody", "casino")
    assert counting.reads == 2


@pytest.mark.parametrize(("agent_id", "service"), [("a b", "casino"), ("", "casino"), ("ag", "bank"), ("ag", "")])
def test_bad_names_are_refused(cache: StateCache, counting: CountingGateway, agent_id: str, service: str) -> None:
    with pytest.raises(InvalidInput):
        cache.get(agent_id, service)
    with pytest.raises(InvalidInput):
        cache.invalidate(agent_id, service)
    assert counting.reads == 0


def test_a_portfolio_has_six_legs_and_a_total(cache: StateCache, gateway: Gateway, rich: str) -> None:
    casino.register.call(gateway, f"{rich}_other", "r")
    escrow.create.call(gateway, rich, "e", counterparty=f"{rich}_other", amount="30")
    portfolio = cache.portfolio_snapshot(rich)
    assert set(portfolio.legs) == set(Service)
    assert portfolio.unknown == ()
    assert portfolio.total == (70 + 30 + 1_000 + 100 + 50) * 1_000_000


def test_a_portfolio_with_an_unknown_leg_has_no_total(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str
) -> None:
    sandbox.client.plan({"fault": "html_502", "service": "trading", "operation": "state"})
    portfolio = cache.portfolio_snapshot(rich)
    assert portfolio.unknown == (Service.TRADING,)
    assert portfolio.total is None
    assert portfolio.known == 250 * 1_000_000


def test_another_agent_gets_its_own(cache: StateCache, gateway: Gateway, rich: str) -> None:
    casino.register.call(gateway, f"{rich}_other", "r")
    cache.get(rich, "casino")
    other = cache.get(f"{rich}_other", "casino")
    assert other.state is not None
    assert other.state["agent_id"] == f"{rich}_other"
    assert other.funds is not None
    assert other.funds.cash == 0


def test_every_key_in_redis_ends_by_itself_and_names_the_agent(redis: Redis, gateway: Gateway, rich: str) -> None:
    cache = StateCache(gateway, redis)
    cache.portfolio_snapshot(rich)
    cache.invalidate(rich, "trading")
    keys = [key.decode() for key in redis.scan_iter("*")]
    assert f"as:{{{rich}}}:state:casino" in keys
    assert all(key.startswith(f"as:{{{rich}}}:state:") for key in keys)
    assert all(redis.pttl(key) > 0 for key in keys)
    assert not [key for key in keys if key.endswith(":lock")]


def test_two_processes_share_what_one_has_read(redis: Redis, counting: CountingGateway, rich: str) -> None:
    StateCache(counting, redis).get(rich, "casino")
    StateCache(counting, redis).get(rich, "casino")
    assert counting.reads == 1


def test_a_lock_that_a_killed_reader_left_ends_by_itself(redis: Redis, counting: CountingGateway, rich: str) -> None:
    redis.set(f"as:{{{rich}}}:state:casino:lock", "somebody", px=200)
    assert StateCache(counting, redis).get(rich, "casino").quality is Quality.LIVE
    assert counting.reads == 1


def test_without_redis_the_cache_works_on(nowhere: Redis, counting: CountingGateway, rich: str) -> None:
    cache = StateCache(counting, nowhere)
    assert {cache.get(rich, "casino").quality for _ in range(5)} == {Quality.LIVE}
    assert counting.reads == 1


def test_an_invalidation_that_redis_missed_is_made_up_for(
    redis: Redis, counting: CountingGateway, rich: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StateCache(counting, redis)
    cache.get(rich, "casino")
    with monkeypatch.context() as away:
        away.setattr(cache, "_redis_rests_until", float("inf"))
        cache.invalidate(rich, "casino")
    assert redis.exists(f"as:{{{rich}}}:state:casino")
    cache.get(rich, "casino")
    assert counting.reads == 2


@pytest.mark.parametrize("kind", ["redis", "process"])
def test_what_is_outdated_is_not_kept(redis: Redis, kind: str) -> None:
    shelf = RedisShelf(redis) if kind == "redis" else LocalShelf()
    key, epoch = ("ag", Service.CASINO), shelf.epoch(("ag", Service.CASINO))
    assert shelf.store(key, Stored(utc_now(), {"n": 1}), epoch, 10)
    shelf.forget([key])
    assert shelf.load(key) is None
    assert not shelf.store(key, Stored(utc_now(), {"n": 2}), epoch, 10)
    assert shelf.store(key, Stored(utc_now(), {"n": 3}), shelf.epoch(key), 10)


def test_an_older_reading_never_replaces_a_newer_one(redis: Redis) -> None:
    shelf, key = RedisShelf(redis), ("ag", Service.CASINO)
    newer, older = Stored(utc_now(), {"n": 2}), Stored(utc_now() - timedelta(seconds=1), {"n": 1})
    assert shelf.store(key, newer, "0", 10)
    assert not shelf.store(key, older, "0", 10)
    assert shelf.load(key) == newer


def test_the_right_to_ask_is_one_readers_and_given_back_by_it_alone(redis: Redis) -> None:
    shelf, key = RedisShelf(redis), ("ag", Service.CASINO)
    token = shelf.lock(key, 10)
    assert token is not None
    assert shelf.lock(key, 10) is None
    shelf.unlock(key, "another")
    assert shelf.lock(key, 10) is None
    shelf.unlock(key, token)
    assert shelf.lock(key, 10) is not None


def test_entries_of_one_process_are_bounded() -> None:
    shelf = LocalShelf(size=3)
    for number in range(5):
        shelf.store((f"ag{number}", Service.CASINO), Stored(utc_now(), {}), shelf.epoch(("", Service.CASINO)), 10)
    kept = [number for number in range(5) if shelf.load((f"ag{number}", Service.CASINO))]
    assert kept == [2, 3, 4]
