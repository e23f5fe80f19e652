"""The usual slots in words: portfolio, episodes, memories, effects and breaks, each as entries that stay whole."""

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
"""A leg that says what was there at its time; it leaves the total without an upper bound."""

_MICRO = Decimal(10) ** -6
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def render_portfolio(portfolio: Portfolio, fresh_for_s: float | None) -> list[str]:
    """One line a service with its age, then what is in flight, then the total as far as it is known.

    A reading older than `fresh_for_s` seconds is named without its figures, and then there is no total.
    """
    legs = {service: _leg(leg, fresh_for_s) for service, leg in portfolio.legs.items()}
    lines = [f"{service}: {told or f'unknown; last read {_age(leg)}'}" for (service, told), leg in
             zip(legs.items(), portfolio.legs.values(), strict=True)]  # fmt: skip
    lines += [f"in flight: {_usdc(amount)} at {service}" for service, amount in portfolio.in_flight.items() if amount]
    known = all(legs.values()) and not portfolio.moving
    return [*lines, f"total: {_within(portfolio.bounds)}" if known else "total: unknown"]


def _leg(leg: CacheEntry, fresh_for_s: float | None) -> str | None:
    """What a service shows, None when that is unknown or too old to be said."""
    old = fresh_for_s is not None and leg.age_s is not None and leg.age_s > fresh_for_s
    if old or leg.state is None:
        return None
    showed = _usdc(leg.funds.worth) if leg.quality == STALE and leg.funds is not None else _within(leg.bounds)
    return f"{showed}, read {_age(leg)} ({leg.quality})"


def find_newest_reading(portfolio: Portfolio) -> datetime | None:
    """When the newest reading was made, None without any."""
    return max((leg.as_of for leg in portfolio.legs.values() if leg.as_of is not None), default=None)


def render_episodes(episodes: Iterable[Episode]) -> list[str]:
    """One line an episode, newest first."""
    return [
        f"{_moment(episode.at)} {episode.event_type} {_json(episode.payload)}"
        + ("" if episode.outcome is None else f" -> {_json(episode.outcome)}")
        for episode in episodes
    ]


def render_memories(hits: Iterable[Hit]) -> list[str]:
    """One entry a memory, best first, with its kind and time."""
    return [f"[{hit.kind}{f', {_moment(hit.at)}' if hit.at else ''}] {hit.content}" for hit in hits]


def render_effects(effects: Iterable[Effect], breaks: Iterable[Break]) -> list[str]:
    """What is under way or unexplained; nobody should do these things again."""
    open_effects = [
        f"effect {effect.key}: {effect.service} {effect.operation} {_json(effect.params)} is {effect.state}, "
        f"called {_moment(effect.called_at)}"
        for effect in effects
    ]
    unexplained = [
        f"break at {found.service}: {found.kind}{f' of {found.amount}' if found.amount else ''}, "
        f"open since {_moment(found.opened_at)}"
        for found in breaks
    ]
    return open_effects + unexplained


def _usdc(micro: int) -> str:
    return f"{(micro * _MICRO):,f} USDC"


def _within(bounds: Bounds) -> str:
    if bounds.is_exact:
        return _usdc(bounds.low)
    return f"at least {_usdc(bounds.low)}" + ("" if bounds.high is None else f", at most {_usdc(bounds.high)}")


def _age(leg: CacheEntry) -> str:
    return "never" if leg.age_s is None else f"{_span(leg.age_s)} ago"


def _span(seconds: float) -> str:
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
