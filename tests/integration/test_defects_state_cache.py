"""Every known defect of state caches over services like these, by number, as a scenario that must not go wrong here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, cast

import pytest
import redis.asyncio
from pydantic import SecretStr
from redis import Redis

from agentstate.errors import InvalidInput, ServiceAnswerInvalid
from agentstate.services.cache.async_cache import AsyncStateCache
from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource, Reading
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations import casino, trading
from agentstate.services.operations.names import Service
from tests.stubs.service_calls import send
from tests.stubs.service_server import ServiceServer

KEY = SecretStr("pf_test_sandbox")


class Watched(GatewaySource):
    """The real source; tells how often it was asked, and lets a test do something after a reading."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.reads = 0
        self.after: Any = None

    def read_state(self, agent_id: str, service: Service) -> Reading:
        self.reads += 1
        reading = super().read_state(agent_id, service)
        if self.after is not None:
            self.after(service)
        return reading


@pytest.fixture
def watched(gateway: Gateway) -> Watched:
    return Watched(gateway)


@pytest.fixture
def cache(watched: Watched, client: Redis) -> StateCache:
    return StateCache(watched, client)


@pytest.fixture
def service() -> Iterator[ServiceServer]:
    with ServiceServer() as server:
        yield server


@pytest.fixture
def slow_cache(service: ServiceServer, client: Redis) -> Iterator[StateCache]:
    """A cache over a service whose answers a test can hold back."""
    gateway = Gateway(service.url, KEY, deadline_s=30)
    yield StateCache(GatewaySource(gateway), client, hold_s=0.6)
    gateway.close()


def worth(cache: StateCache, agent_id: str, service: str = "casino") -> int:
    funds = cache.get(agent_id, service).funds
    assert funds is not None
    return funds.worth


@pytest.mark.guide_defect(128)
def test_fifty_who_miss_at_once_ask_once(cache: StateCache, watched: Watched, rich: str) -> None:
    barrier = threading.Barrier(50)

    def read(_: int) -> Quality:
        barrier.wait(20)
        return cache.get(rich, "casino").quality

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(read, range(50))) == {Quality.LIVE}
    assert watched.reads == 1


@pytest.mark.guide_defect(129)
def test_an_invalidation_during_a_read_is_not_undone(
    cache: StateCache, watched: Watched, gateway: Gateway, rich: str
) -> None:
    def move(_: Service) -> None:
        watched.after = None
        send(gateway, rich, "more", casino.deposit(amount="400"))
        cache.invalidate(rich, "casino")

    watched.after = move
    cache.get(rich, "casino")
    assert worth(cache, rich) == 500_000_000


@pytest.mark.guide_defect(130)
def test_money_that_moves_between_reads_is_counted_once(
    cache: StateCache, watched: Watched, gateway: Gateway, rich: str
) -> None:
    moved = threading.Lock()

    def move(service: Service) -> None:
        if service is Service.CASINO and moved.acquire(blocking=False):
            send(gateway, rich, "b", casino.bet(amount="10", side="heads"))
            send(gateway, rich, "t", trading.deposit(amount="90"))
            cache.invalidate(rich, "casino")
            cache.invalidate(rich, "trading")

    watched.after = move
    portfolio = cache.portfolio_snapshot(rich)
    fresh = {service: cache.get(rich, service, force_refresh=True).funds for service in Service}
    assert not portfolio.moving
    assert portfolio.total == sum(funds.worth for funds in fresh.values() if funds is not None)


@pytest.mark.guide_defect(131)
def test_a_service_that_is_down_is_unknown_with_a_reason_and_not_zero(
    cache: StateCache, sandbox: Any, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "html_502", "service": "trading", "operation": "state", "agent_id": rich})
    portfolio = cache.portfolio_snapshot(rich)
    leg = portfolio.legs[Service.TRADING]
    assert (leg.quality, leg.state, leg.funds) == (Quality.UNKNOWN, None, None)
    assert "502" in str(leg.reason)
    assert portfolio.total is None


@pytest.mark.guide_defect(132)
def test_the_event_loop_never_waits(slow_cache: StateCache, service: ServiceServer, redis_url: str) -> None:
    gate = service.hold("ag_1")

    async def read() -> Quality:
        front = AsyncStateCache(slow_cache)
        reading = asyncio.create_task(front.get("ag_1", "casino"))
        await asyncio.to_thread(gate.wait_arrived)
        assert not reading.done()  # and the loop goes on, or this line were never reached
        gate.opened.set()
        entry = await reading
        front.close()
        return entry.quality

    assert asyncio.run(read()) is Quality.LIVE
    with pytest.raises(InvalidInput, match="AsyncStateCache"):
        StateCache(cast("Any", None), cast("Any", redis.asyncio.Redis.from_url(redis_url)))


@pytest.mark.guide_defect(133)
def test_another_key_never_gets_the_first_ones_state(client: Redis, cache: StateCache, sandbox: Any, rich: str) -> None:
    cache.get(rich, "casino")
    stranger = Gateway(sandbox.api, SecretStr("pf_test_another"), deadline_s=5)
    theirs = StateCache(Watched(stranger), client)
    assert theirs.peek(rich, "casino").quality is Quality.UNKNOWN
    assert cache.peek(rich, "casino").quality is Quality.LIVE
    stranger.close()


@pytest.mark.guide_defect(134)
def test_without_redis_a_read_works(watched: Watched, rich: str) -> None:
    with Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as nowhere:
        cache = StateCache(watched, nowhere)
        assert {cache.get(rich, "casino").quality for _ in range(3)} == {Quality.LIVE}
        cache.invalidate(rich, "casino")
        assert cache.get(rich, "casino").quality is Quality.LIVE
    assert watched.reads == 2


@pytest.mark.guide_defect(135)
def test_who_changes_what_was_read_changes_it_for_nobody(cache: StateCache, rich: str) -> None:
    state = cache.get(rich, "casino").state
    assert state is not None
    state.clear()
    assert worth(cache, rich) == 100_000_000


@pytest.mark.guide_defect(136)
def test_eighteen_decimals_come_through(slow_cache: StateCache, service: ServiceServer) -> None:
    service.bodies["ag_1"] = '{"agent_id":"ag_1","balance_usd":1234567.123456789012345678}'
    for _ in range(2):
        state = slow_cache.get("ag_1", "casino").state
        assert state is not None
        assert state["balance_usd"] == Decimal("1234567.123456789012345678")


@pytest.mark.guide_defect(137)
def test_who_is_cancelled_is_cancelled_and_no_leg_is_an_exception(
    slow_cache: StateCache, service: ServiceServer
) -> None:
    gate = service.hold("ag_1")

    async def cancel() -> None:
        front = AsyncStateCache(slow_cache)
        task = asyncio.create_task(front.portfolio_snapshot("ag_1"))
        await asyncio.to_thread(gate.wait_arrived)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        portfolio = await front.portfolio_snapshot("ag_1")
        assert all(leg.quality in Quality for leg in portfolio.legs.values())
        front.close()

    asyncio.run(cancel())


@pytest.mark.guide_defect(138)
def test_a_confirmed_state_is_written_through(cache: StateCache, watched: Watched, gateway: Gateway, rich: str) -> None:
    before = cache.get(rich, "escrow")
    state = gateway.read(rich, Service.CASINO) | {"balance_usd": Decimal("123.45")}
    cache.write_through(rich, "casino", state)
    assert worth(cache, rich) == 123_450_000
    assert watched.reads == 1
    assert before.as_of is not None
    assert cache.get(rich, "escrow").as_of != before.as_of  # which the operation spoiled


@pytest.mark.guide_defect(138)
@pytest.mark.parametrize("state", [{"agent_id": "victim", "balance_usd": 1}, {"balance_usd": 1}, {}])
def test_what_is_no_state_of_the_agent_is_not_written_through(
    cache: StateCache, rich: str, state: dict[str, Any]
) -> None:
    cache.get(rich, "casino")
    with pytest.raises(ServiceAnswerInvalid):
        cache.write_through(rich, "casino", state)
    assert worth(cache, rich) == 100_000_000
