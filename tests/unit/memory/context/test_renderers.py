"""The usual slots in words: ages beside figures, and what is not known is never a number."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from agentstate.memory.context.renderers import find_newest_reading, render_portfolio
from agentstate.services.cache.entry import Bounds, CacheEntry, CacheKey, StoredEntry, to_micros
from agentstate.services.cache.portfolio import Portfolio
from agentstate.services.cache.reading import Quality
from agentstate.services.operations.names import Service

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def leg(low: int | None, high: int | None, age_s: float | None, quality: Quality = Quality.LIVE) -> Any:
    unknown = low is None
    return SimpleNamespace(
        bounds=Bounds(low or 0, None if unknown else high),
        state=None if unknown else {},
        quality=Quality.UNKNOWN if unknown else quality,
        age_s=age_s,
        as_of=None if age_s is None else NOON,
    )


def portfolio(*legs: Any, **fields: Any) -> Portfolio:
    return Portfolio("a", dict(zip(Service, legs, strict=False)), **fields)


def test_every_reading_has_its_age_and_the_total_is_exact() -> None:
    whole = portfolio(leg(97_500_000, 97_500_000, 4), leg(1, 1, 130))
    assert render_portfolio(whole, 300) == [
        "wallet: 97.500000 USDC, read 4 s ago (live)",
        "casino: 0.000001 USDC, read 2 min ago (live)",
        "total: 97.500001 USDC",
    ]
    assert find_newest_reading(whole) == NOON


def test_what_is_known_within_bounds_is_told_so() -> None:
    doubtful = portfolio(leg(0, 2_000_000, 4, Quality.SUSPECT_ZERO), in_flight={"casino": 500_000})
    assert render_portfolio(doubtful, None) == [
        "wallet: at least 0.000000 USDC, at most 2.000000 USDC, read 4 s ago (suspect_zero)",
        "in flight: 0.500000 USDC at casino",
        "total: at least 0.000000 USDC, at most 2.500000 USDC",
    ]


def test_a_stale_reading_tells_what_was_there_and_leaves_no_total() -> None:
    state = msgspec.Raw(b'{"balance_usd": 5}')
    before = StoredEntry(as_of=to_micros(NOON), fresh_until=0, content=state)
    casino = CacheEntry(CacheKey("a", Service.CASINO, "t"), Quality.STALE, before, now_us=to_micros(NOON) + 130_000_000)
    stale = portfolio(leg(97_500_000, 97_500_000, 4), casino)
    assert render_portfolio(stale, 300) == [
        "wallet: 97.500000 USDC, read 4 s ago (live)",
        "casino: 5.000000 USDC, read 2 min ago (stale)",
        "total: at least 97.500000 USDC",
    ]


def test_what_is_unknown_or_too_old_has_no_figure_and_neither_has_the_total() -> None:
    part = portfolio(leg(None, None, None), leg(5_000_000, 5_000_000, 7_300), leg(0, 0, 1))
    assert render_portfolio(part, 300) == [
        "wallet: unknown; last read never",
        "casino: unknown; last read 2 h ago",
        "trading: 0.000000 USDC, read 1 s ago (live)",
        "total: unknown",
    ]
    assert render_portfolio(part, None)[1].startswith("casino: 5.000000 USDC")
    assert find_newest_reading(portfolio(leg(None, None, None))) is None
