"""The state cache over a real Redis and the running sandbox: one read for all, honest about age, safe without Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from pydantic import SecretStr
from redis import Redis

from agentstate.clock import utc_now
from agentstate.errors import InvalidInput, ServiceRejected
from agentstate.services.cache.backends import LocalBackend, RedisBackend
from agentstate.services.cache.entry import CacheKey, StoredEntry, to_micros
from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations import casino, escrow, faucet
from agentstate.services.operations.names import TTL_S, Service
from deploy.local.stack.table import python_path
from tests.stubs.service_calls import send
from tests.stubs.service_server import ServiceServer

ROOT = Path(__file__).parents[2]


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
            assert self.go_on.wait(60)
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
    return StateCache(GatewaySource(counting), redis, draw=lambda: 0.0, clock=now)


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
    send(gateway, rich, "f", faucet.claim())
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
        assert counting.in_read.wait(60)
        send(gateway, rich, "more", casino.deposit(amount="50"))
        cache.invalidate(rich, "casino")
        counting.go_on.set()
        slow.result(5)
    funds = cache.get(rich, "casino").funds
    assert funds is not None
    assert funds.cash == 150_000_000


def test_many_readers_of_a_missing_entry_make_one_call(
    redis: Redis, sandbox: Any, gateway: Gateway, counting: CountingGateway, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "slow:100", "operation": "state"})
    caches = [StateCache(GatewaySource(counting), redis) for _ in range(3)]
    with ThreadPoolExecutor(48) as pool:
        found = list(pool.map(lambda number: caches[number % 3].get(rich, "casino"), range(96)))
    assert counting.reads == 1
    assert {entry.quality for entry in found} == {Quality.LIVE}


def test_many_readers_of_a_service_that_is_down_share_the_failure(
    sandbox: Any, counting: CountingGateway, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "html_502", "operation": "state"})
    cache = StateCache(GatewaySource(counting))
    barrier = threading.Barrier(16)

    def read(_: int) -> Quality:
        barrier.wait(60)
        return cache.get(rich, "casino").quality

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(read, range(16))) == {Quality.UNKNOWN}
    assert counting.reads < 16


def test_a_service_that_fails_leaves_a_stale_entry_and_later_none(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str, now: Now
) -> None:
    cache.get(rich, "casino")
    sandbox.client.set_faults({"fault": "html_502", "operation": "state"})
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
    cache: StateCache, sandbox: Any, rich: str, fault: str, now: Now
) -> None:
    sandbox.client.set_faults({"fault": fault, "operation": "state"})
    entry = cache.get(rich, "casino")
    assert (entry.quality, entry.state, entry.as_of) == (Quality.UNKNOWN, None, None)
    sandbox.client.set_faults()
    now.pass_s(61)
    assert cache.get(rich, "casino").quality is Quality.LIVE


def test_a_failure_is_remembered_briefly(
    cache: StateCache, counting: CountingGateway, sandbox: Any, rich: str, now: Now
) -> None:
    sandbox.client.set_faults({"fault": "html_502", "operation": "state", "agent_id": rich})
    assert [cache.get(rich, "casino").quality for _ in range(5)] == [Quality.UNKNOWN] * 5
    assert counting.reads == 1
    cache.get(rich, "casino", force_refresh=True)
    assert counting.reads == 2
    now.pass_s(2.1)
    sandbox.client.set_faults()
    assert cache.get(rich, "casino").quality is Quality.LIVE


def test_a_failure_is_forgotten_by_an_invalidation(
    cache: StateCache, counting: CountingGateway, sandbox: Any, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "html_502", "operation": "state", "agent_id": rich})
    cache.get(rich, "casino")
    sandbox.client.set_faults()
    cache.invalidate(rich, "casino")
    assert cache.get(rich, "casino").quality is Quality.LIVE


def test_an_unknown_agent_is_an_error_and_remembered_briefly(
    cache: StateCache, counting: CountingGateway, now: Now
) -> None:
    for _ in range(2):
        with pytest.raises(ServiceRejected, match="agent_not_found"):
            cache.get("nobody", "casino")
    assert counting.reads == 1
    now.pass_s(3)
    with pytest.raises(ServiceRejected):
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
    send(gateway, f"{rich}_other", "r", casino.register())
    send(gateway, rich, "e", escrow.create(counterparty=f"{rich}_other", amount="30"))
    portfolio = cache.portfolio_snapshot(rich)
    assert set(portfolio.legs) == set(Service)
    assert portfolio.unknown == ()
    assert portfolio.total == (70 + 30 + 1_000 + 100 + 50) * 1_000_000


def test_a_portfolio_with_an_unknown_leg_has_no_total(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "html_502", "service": "trading", "operation": "state"})
    portfolio = cache.portfolio_snapshot(rich)
    assert portfolio.unknown == (Service.TRADING,)
    assert portfolio.total is None
    assert portfolio.known == 250 * 1_000_000


def test_another_agent_gets_its_own(cache: StateCache, gateway: Gateway, rich: str) -> None:
    send(gateway, f"{rich}_other", "r", casino.register())
    cache.get(rich, "casino")
    other = cache.get(f"{rich}_other", "casino")
    assert other.state is not None
    assert other.state["agent_id"] == f"{rich}_other"
    assert other.funds is not None
    assert other.funds.cash == 0


def test_every_key_in_redis_ends_by_itself_and_names_the_agent(
    redis: Redis, gateway: Gateway, sandbox: Any, rich: str, now: Now
) -> None:
    cache = StateCache(GatewaySource(gateway), redis, draw=lambda: 0.0, clock=now)
    cache.portfolio_snapshot(rich)
    now.pass_s(9)
    cache.get(rich, "casino")  # near its end: noted, to be read ahead
    sandbox.client.set_faults({"fault": "html_502", "operation": "state", "agent_id": rich})
    cache.get(rich, "trading", force_refresh=True)
    cache.invalidate(rich, "domains")
    keys = [key.decode() for key in redis.scan_iter("*")]
    assert f"as:{{{rich}}}:state:{gateway.mark(rich, Service.CASINO)}:casino" in keys
    assert "as:{/cache}:ahead" in keys
    assert all(key.startswith((f"as:{{{rich}}}:state:", "as:{/cache}:")) for key in keys)
    assert all(redis.pttl(key) > 0 for key in keys)
    assert not [key for key in keys if key.endswith(":asking")]


def test_two_processes_share_what_one_has_read(redis: Redis, counting: CountingGateway, rich: str) -> None:
    StateCache(GatewaySource(counting), redis).get(rich, "casino")
    StateCache(GatewaySource(counting), redis).get(rich, "casino")
    assert counting.reads == 1


def test_without_redis_the_cache_works_on(nowhere: Redis, counting: CountingGateway, rich: str) -> None:
    cache = StateCache(GatewaySource(counting), nowhere)
    assert {cache.get(rich, "casino").quality for _ in range(5)} == {Quality.LIVE}
    assert counting.reads == 1


def test_an_invalidation_that_redis_missed_is_made_up_for(
    redis: Redis, counting: CountingGateway, rich: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StateCache(GatewaySource(counting), redis)
    cache.get(rich, "casino")
    with monkeypatch.context() as away:
        away.setattr(cache._backend._fallback, "_rests_until", float("inf"))
        cache.invalidate(rich, "casino")
    assert redis.exists(f"as:{{{rich}}}:state:{counting.mark(rich, Service.CASINO)}:casino")
    cache.get(rich, "casino")
    assert counting.reads == 2


def stored(number: int, age_s: float = 0.0) -> StoredEntry:
    as_of = to_micros(utc_now()) - int(age_s * 1_000_000)
    return StoredEntry(as_of=as_of, fresh_until=as_of + 10_000_000, content=msgspec.Raw(b'{"balance_usd":%d}' % number))


KEY = CacheKey("ag", Service.CASINO, "t")


@pytest.fixture(params=["redis", "process"])
def shelf(request: pytest.FixtureRequest) -> RedisBackend | LocalBackend:
    return RedisBackend(request.getfixturevalue("redis")) if request.param == "redis" else LocalBackend()


def test_an_entry_comes_back_as_it_was(shelf: RedisBackend | LocalBackend) -> None:
    full = replace(stored(1), quality=Quality.SUSPECT_ZERO, reason="why", before=7, since=5)
    token = shelf.claim_load(KEY, 10).token
    assert token is not None
    assert shelf.store_claimed(KEY, token, full, 10)
    found = [shelf.load_entry(KEY), *shelf.load_entries([KEY, KEY._replace(service=Service.WALLET)])]
    assert [entry and entry.to_bytes() for entry in found] == [full.to_bytes(), full.to_bytes(), None]


def test_who_was_overtaken_by_a_mutation_keeps_nothing(shelf: RedisBackend | LocalBackend) -> None:
    token = shelf.claim_load(KEY, 10).token
    assert token is not None
    shelf.drop_entries([KEY])
    assert not shelf.store_claimed(KEY, token, stored(1), 10)
    assert shelf.load_entry(KEY) is None
    later = shelf.claim_load(KEY, 10).token
    assert later is not None
    assert shelf.store_claimed(KEY, later, stored(2), 10)


def test_who_was_overtaken_by_another_reader_keeps_nothing(redis: Redis) -> None:
    shelf = RedisBackend(redis)
    slow = shelf.claim_load(KEY, 0.001).token
    assert slow is not None
    fast = None
    while fast is None:
        fast = shelf.claim_load(KEY, 10).token
    assert shelf.store_claimed(KEY, fast, stored(2), 10)
    assert not shelf.store_claimed(KEY, slow, stored(1), 10)
    found = shelf.load_entry(KEY)
    assert found is not None
    assert found.state == {"balance_usd": 2}


def test_who_asked_before_redis_lost_everything_keeps_nothing(redis: Redis) -> None:
    shelf = RedisBackend(redis)
    token = shelf.claim_load(KEY, 10).token
    assert token is not None
    redis.flushdb()
    assert not shelf.store_claimed(KEY, token, stored(1), 10)


def test_the_right_to_ask_is_one_readers_and_given_back_by_it_alone(redis: Redis) -> None:
    shelf = RedisBackend(redis)
    token = shelf.claim_load(KEY, 10).token
    assert token is not None
    assert shelf.claim_load(KEY, 10).token is None
    shelf.release_claim(KEY, "another", None, 1)
    assert shelf.claim_load(KEY, 10).token is None
    shelf.renew_claim(KEY, token, 60)
    assert redis.pttl("as:{ag}:state:t:casino:asking") > 50_000
    shelf.release_claim(KEY, token, None, 1)
    assert shelf.claim_load(KEY, 10).token is not None


def test_entries_of_one_process_are_bounded() -> None:
    shelf = LocalBackend(size=3)
    for number in range(5):
        key = KEY._replace(agent_id=f"ag{number}")
        token = shelf.claim_load(key, 10).token
        assert token is not None
        shelf.store_claimed(key, token, stored(number), 10)
    assert [number for number in range(5) if shelf.load_entry(KEY._replace(agent_id=f"ag{number}"))] == [2, 3, 4]


def test_times_to_live_differ_a_little(counting: CountingGateway, rich: str, now: Now) -> None:
    cache = StateCache(GatewaySource(counting), draw=lambda: 1.0, clock=now)
    cache.get(rich, "casino")
    now.pass_s(TTL_S[Service.CASINO] * 0.9 + 0.5)
    cache.get(rich, "casino")
    assert counting.reads == 2


def test_a_killed_reader_holds_up_the_others_for_a_moment_alone(redis_url: str, redis: Redis) -> None:
    with ServiceServer() as service:
        gate = service.hold("ag_1")
        command = [sys.executable, "-m", "tests.stubs.cache_reader", redis_url, service.url, "ag_1"]
        env = os.environ | {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))}
        killed = subprocess.Popen(command, cwd=ROOT, env=env)
        gate.wait_arrived()
        killed.kill()
        killed.wait()
        gate.opened.set()
        gateway = Gateway(service.url, SecretStr("pf_test_sandbox"), deadline_s=30)
        caches = [StateCache(GatewaySource(gateway), redis, hold_s=2.0) for _ in range(4)]
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda number: caches[number % 4].get("ag_1", "casino").quality, range(40)))
        assert set(found) == {Quality.LIVE}
        assert service.asked == ["ag_1"] * 2
        gateway.close()


def test_a_slow_service_does_not_lose_the_right_to_ask(redis: Redis) -> None:
    with ServiceServer() as service:
        gate = service.hold("ag_1")
        gateway = Gateway(service.url, SecretStr("pf_test_sandbox"), deadline_s=30)
        caches = [StateCache(GatewaySource(gateway), redis, hold_s=1.0) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(cache.get, "ag_1", "casino") for cache in caches]
            gate.wait_arrived()
            time.sleep(1.5)  # longer than the right holds by itself
            gate.opened.set()
            assert {future.result(20).quality for future in reading} == {Quality.LIVE}
        assert service.asked == ["ag_1"]
        gateway.close()


def test_a_reader_in_a_hurry_takes_what_is_stale_while_it_is_read_anew(
    cache: StateCache, counting: CountingGateway, rich: str, now: Now
) -> None:
    cache.get(rich, "casino")
    now.pass_s(15)
    entry = cache.get(rich, "casino", stale_for_s=10)
    assert entry.quality is Quality.STALE
    assert entry.funds is not None
    cache.close()  # waits for what is read behind the reader
    assert counting.reads == 2
    assert cache.get(rich, "casino", stale_for_s=10).quality is Quality.LIVE
    now.pass_s(25)
    assert cache.get(rich, "casino", stale_for_s=10).quality is Quality.LIVE  # beyond what was offered: waited for
    assert counting.reads == 3


def test_a_sudden_zero_is_suspect_until_it_is_explained(
    cache: StateCache, sandbox: Any, gateway: Gateway, rich: str, now: Now
) -> None:
    cache.get(rich, "wallet")
    sandbox.client.set_faults({"fault": "silent_zero", "operation": "state", "agent_id": rich})
    for _ in range(2):
        now.pass_s(60)
        entry = cache.get(rich, "wallet")
        assert entry.quality is Quality.SUSPECT_ZERO
        assert entry.bounds == (0, 50_000_000)
    sandbox.client.set_faults()
    now.pass_s(60)
    assert cache.get(rich, "wallet").quality is Quality.LIVE
    sandbox.client.set_faults({"fault": "silent_zero", "operation": "state", "agent_id": rich})
    cache.invalidate(rich, "wallet")  # an operation of ours may have emptied it
    assert cache.get(rich, "wallet").quality is Quality.LIVE


def test_a_zero_that_stays_is_believed(cache: StateCache, sandbox: Any, rich: str, now: Now) -> None:
    cache.get(rich, "wallet")
    sandbox.client.set_faults({"fault": "silent_zero", "operation": "state", "agent_id": rich})
    found = []
    for _ in range(12):
        now.pass_s(61)
        found.append(cache.get(rich, "wallet").quality)
    assert (found[0], found[-1]) == (Quality.SUSPECT_ZERO, Quality.LIVE)


def test_second_hand_positions_say_so() -> None:
    with ServiceServer() as service:
        body = {"agent_id": "ag_1", "balance_usd": 5, "equity_usd": 7, "source": "database"}
        service.bodies["ag_1"] = json.dumps(body)
        gateway = Gateway(service.url, SecretStr("pf_test_sandbox"), deadline_s=5)
        entry = StateCache(GatewaySource(gateway)).get("ag_1", "trading")
        assert entry.quality is Quality.FALLBACK
        assert entry.bounds == (0, None)
        assert "database" in str(entry.reason)
        gateway.close()


def test_what_is_in_use_is_read_ahead_by_a_worker(redis: Redis, counting: CountingGateway, rich: str, now: Now) -> None:
    woken: list[int] = []
    readers = StateCache(GatewaySource(counting), redis, draw=lambda: 0.0, clock=now, wake=lambda: woken.append(1))
    worker = StateCache(GatewaySource(counting), redis, draw=lambda: 0.0, clock=now)
    readers.get(rich, "casino")
    readers.get(rich, "trading")
    assert worker.refresh_due() == 0
    now.pass_s(8)
    for _ in range(3):
        readers.get(rich, "casino")
    assert woken == [1]
    assert worker.refresh_due() == 1
    assert counting.reads == 3
    now.pass_s(5)
    assert readers.get(rich, "casino").age_s == pytest.approx(5, abs=1)
    assert counting.reads == 3
    assert worker.refresh_due() == 0


def test_the_other_side_of_a_payment_is_read_anew_too(cache: StateCache, gateway: Gateway, rich: str) -> None:
    other = f"{rich}_other"
    send(gateway, other, "r", casino.register())
    cache.get(other, "casino")
    send(gateway, other, "d", casino.deposit(amount="7"))
    cache.invalidate(rich, "escrow", others=[other])
    funds = cache.get(other, "casino").funds
    assert funds is not None
    assert funds.cash == 7_000_000


@pytest.mark.parametrize("ahead_s", [2, 600])
def test_a_writer_whose_clock_is_ahead_dates_no_live_entry_in_the_future(
    redis: Redis, counting: CountingGateway, rich: str, now: Now, ahead_s: float
) -> None:
    fast = Now()
    fast.pass_s(ahead_s)
    StateCache(GatewaySource(counting), redis, draw=lambda: 0.0, clock=fast).get(rich, "casino")
    reader = StateCache(GatewaySource(counting), redis, draw=lambda: 0.0, clock=now)

    peeked = reader.peek(rich, "casino")
    assert (peeked.quality, peeked.as_of, peeked.state) == (Quality.UNKNOWN, None, None)
    assert "clock is ahead" in str(peeked.reason)

    entry = reader.get(rich, "casino")
    assert counting.reads == 2, "the entry from the future is replaced"
    assert entry.quality is Quality.LIVE
    assert entry.as_of is not None
    assert entry.age_s is not None
    assert entry.as_of <= now()
    assert entry.age_s >= 0
    assert reader.peek(rich, "casino").quality is Quality.LIVE


def test_a_failure_that_is_dated_in_the_future_holds_nobody_up(redis: Redis, sandbox: Any, rich: str) -> None:
    fast = Now()
    fast.pass_s(600)
    down = CountingGateway("http://127.0.0.1:1", SecretStr("pf_test_sandbox"), deadline_s=1)
    up = CountingGateway(sandbox.api, SecretStr("pf_test_sandbox"), deadline_s=5)
    up.mark = down.mark  # type: ignore[method-assign] # the same account
    assert StateCache(GatewaySource(down), redis, clock=fast).get(rich, "casino").quality is Quality.UNKNOWN
    assert StateCache(GatewaySource(up), redis).get(rich, "casino").quality is Quality.LIVE
    down.close()
    up.close()
