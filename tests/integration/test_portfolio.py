"""Portfolios: a leg is known, bounded or unknown, and money on its way is shown once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from agentstate.agent import Fleet
from agentstate.money.amounts import Money
from agentstate.runtime import Runtime
from agentstate.services.cache.async_cache import AsyncStateCache
from agentstate.services.cache.entry import Bounds, CacheEntry, CacheKey
from agentstate.services.cache.portfolio import Portfolio
from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations.names import Service
from agentstate.settings import Settings

DOLLAR = 1_000_000
ALL = 1_250 * DOLLAR
"""What the agent `rich` has."""


@pytest.fixture
def cache(gateway: Gateway, redis_url: str) -> Iterator[StateCache]:
    with Redis.from_url(redis_url, socket_timeout=5) as client:
        yield StateCache(GatewaySource(gateway), client)


def test_every_leg_has_its_status_moment_and_bounds(cache: StateCache, rich: str) -> None:
    portfolio = cache.portfolio_snapshot(rich)
    for leg in portfolio.legs.values():
        assert leg.quality is Quality.LIVE
        assert leg.as_of is not None
        assert leg.bounds.is_exact
    assert portfolio.bounds == (ALL, ALL)
    assert portfolio.as_of is not None
    assert portfolio.as_of[0] <= portfolio.as_of[1]


def test_an_unknown_leg_leaves_a_range_and_no_total(cache: StateCache, sandbox: Any, rich: str) -> None:
    sandbox.client.set_faults({"fault": "html_502", "service": "trading", "operation": "state", "agent_id": rich})
    portfolio = cache.portfolio_snapshot(rich)
    assert portfolio.total is None
    assert portfolio.bounds == (250 * DOLLAR, None)
    assert portfolio.doubtful == portfolio.unknown == (Service.TRADING,)


def test_a_suspect_zero_is_bounded_by_what_was_there(cache: StateCache, sandbox: Any, rich: str) -> None:
    cache.portfolio_snapshot(rich)
    sandbox.client.set_faults({"fault": "silent_zero", "service": "wallet", "operation": "state", "agent_id": rich})
    portfolio = cache.portfolio_snapshot(rich, force_refresh=True)
    assert portfolio.total is None
    assert portfolio.bounds == (ALL - 50 * DOLLAR, ALL)
    assert portfolio.doubtful == (Service.WALLET,)


def test_a_stale_leg_is_shown_with_its_age_and_is_part_of_no_total(cache: StateCache, sandbox: Any, rich: str) -> None:
    assert cache.portfolio_snapshot(rich).total == ALL
    sandbox.client.set_faults({"fault": "html_502", "service": "trading", "operation": "state", "agent_id": rich})
    portfolio = cache.portfolio_snapshot(rich, force_refresh=True)
    leg = portfolio.legs[Service.TRADING]
    assert (leg.quality, leg.bounds) == (Quality.STALE, (0, None))
    assert leg.funds is not None
    assert leg.age_s is not None
    assert leg.funds.worth == 1_000 * DOLLAR
    assert (portfolio.total, portfolio.bounds, portfolio.known) == (None, (250 * DOLLAR, None), ALL)
    assert portfolio.doubtful == (Service.TRADING,)
    assert portfolio.unknown == ()


def test_money_in_flight_stands_once_on_a_line_of_its_own(cache: StateCache, rich: str) -> None:
    asked = iter([{"casino": 10 * DOLLAR}, {"wallet": 5 * DOLLAR}])
    portfolio = cache.portfolio_snapshot(rich, in_flight=lambda: next(asked))
    assert portfolio.in_flight == {"casino": 10 * DOLLAR, "wallet": 5 * DOLLAR}
    assert portfolio.known == ALL
    assert portfolio.total is None
    assert portfolio.bounds == (ALL - 15 * DOLLAR, ALL + 15 * DOLLAR)


def test_an_asyncio_agent_has_the_same_verbs(cache: StateCache, rich: str) -> None:
    async def told() -> tuple[Any, ...]:
        front = AsyncStateCache(cache)
        first = await front.get(rich, "casino")
        again = await front.refresh(rich, "casino")
        portfolio = await front.portfolio_snapshot(rich, in_flight=lambda: {"casino": 10 * DOLLAR})
        written = await front.write_through(rich, "casino", again.state or {})
        await front.invalidate(rich, "casino")
        gone = await front.peek(rich, "casino")
        front.close()
        return first, again, portfolio, written, gone

    first, again, portfolio, written, gone = asyncio.run(told())
    assert first.as_of < again.as_of < written.as_of
    assert portfolio.bounds == (ALL - 10 * DOLLAR, ALL + 10 * DOLLAR)
    assert (written.quality, gone.quality) == (Quality.LIVE, Quality.UNKNOWN)


def test_without_end_of_moves_there_is_no_total(cache: StateCache, rich: str) -> None:
    def moves() -> dict[str, int]:
        cache.invalidate(rich, "casino")
        return {}

    portfolio = cache.portfolio_snapshot(rich, in_flight=moves)
    assert portfolio.moving
    assert (portfolio.total, portfolio.bounds) == (None, Bounds(0, None))


def test_what_was_seen_of_nothing_is_nothing() -> None:
    legs = {service: CacheEntry(CacheKey("ag", service, "t"), Quality.UNKNOWN) for service in Service}
    portfolio = Portfolio("ag", legs)
    assert (portfolio.total, portfolio.known, portfolio.as_of) == (None, 0, None)
    assert portfolio.bounds == (0, None)


def test_the_books_tell_an_agents_portfolio_what_is_in_flight(settings: Settings, sandbox: Any, rich: str) -> None:
    own = settings.model_copy(update={"services_url": sandbox.api, "services_api_key": SecretStr("pf_test_sandbox")})
    runtime = Runtime(own)
    agent = Fleet(runtime).agent(rich)
    agent.ledger.append({"type": "deposit", "amount_usdc": "100", "service": "casino"})
    assert agent.services.portfolio().total == ALL
    agent.ledger.reserve("bet", "casino", Money("2.50", "USDC"))
    portfolio = agent.services.portfolio()
    assert portfolio.in_flight == {"casino": 2_500_000}
    assert portfolio.bounds == (ALL - 2_500_000, ALL + 2_500_000)
    runtime.close()
