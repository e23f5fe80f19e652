"""Text of the usual slots: portfolio, episodes, memories, effects and breaks, as entries that are never cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentstate.memory.episodes.store import Episode
    from agentstate.memory.search.hits import Hit
    from agentstate.money.effects.table import Effect
    from agentstate.money.reconciliation.breaks import Break
    from agentstate.services.cache.entry import Bounds, CacheEntry
    from agentstate.services.cache.portfolio import Portfolio

STALE = "stale"
"""Quality of a leg with an outdated amount; it leaves the total without an upper bound."""

_MICRO = Decimal(10) ** -6
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def render_portfolio(portfolio: Portfolio, fresh_for_s: float | None) -> list[str]:
    """Render one line per service with its age, then amounts in flight, then the total if known.

    A reading older than `fresh_for_s` seconds is named without its figures, and then there is no total.
    """
    lines, known = [], not portfolio.moving
    for service, leg in portfolio.legs.items():
        outdated = fresh_for_s is not None and leg.age_s is not None and leg.age_s > fresh_for_s
        if outdated or leg.state is None:
            lines.append(f"{service}: unknown; last read {_format_age(leg)}")
            known = False
            continue
        if leg.quality == STALE and leg.funds is not None:
            amount = _format_usdc(leg.funds.worth)
        else:
            amount = _format_bounds(leg.bounds)
        lines.append(f"{service}: {amount}, read {_format_age(leg)} ({leg.quality})")
    for holder, in_flight in portfolio.in_flight.items():
        if in_flight:
            lines.append(f"in flight: {_format_usdc(in_flight)} at {holder}")
    return [*lines, f"total: {_format_bounds(portfolio.bounds)}" if known else "total: unknown"]


def find_newest_reading(portfolio: Portfolio) -> datetime | None:
    """Return the time of the newest reading, None without any."""
    return max((leg.as_of for leg in portfolio.legs.values() if leg.as_of is not None), default=None)


def render_episodes(episodes: Iterable[Episode]) -> list[str]:
    """Render one line per episode, newest first."""
    return [
        f"{_format_time(episode.at)} {episode.event_type} {_as_json(episode.payload)}"
        + ("" if episode.outcome is None else f" -> {_as_json(episode.outcome)}")
        for episode in episodes
    ]


def render_memories(hits: Iterable[Hit]) -> list[str]:
    """Render one entry per memory, best first, with its kind and time."""
    return [f"[{hit.kind}{f', {_format_time(hit.at)}' if hit.at else ''}] {hit.content}" for hit in hits]


def render_effects(effects: Iterable[Effect], breaks: Iterable[Break]) -> list[str]:
    """Render open effects and breaks, which must not be repeated."""
    open_effects = [
        f"effect {effect.key}: {effect.service} {effect.operation} {_as_json(effect.params)} is {effect.state}, "
        f"called {_format_time(effect.called_at)}"
        for effect in effects
    ]
    unexplained = [
        f"break at {found.service}: {found.kind}{f' of {found.amount}' if found.amount else ''}, "
        f"open since {_format_time(found.opened_at)}"
        for found in breaks
    ]
    return open_effects + unexplained


def _format_usdc(micro: int) -> str:
    return f"{(micro * _MICRO):,f} USDC"


def _format_bounds(bounds: Bounds) -> str:
    if bounds.is_exact:
        return _format_usdc(bounds.low)
    at_most = "" if bounds.high is None else f", at most {_format_usdc(bounds.high)}"
    return f"at least {_format_usdc(bounds.low)}{at_most}"


def _format_age(leg: CacheEntry) -> str:
    if leg.age_s is None:
        return "never"
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if leg.age_s >= 2 * size:
            return f"{leg.age_s / size:.0f} {unit} ago"
    return f"{leg.age_s:.0f} s ago"


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
