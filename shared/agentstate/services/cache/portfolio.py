"""A portfolio: six readings of one agent side by side, and a total only when all of them are known exactly.

Money in flight, which our books hold for calls whose outcome is not known yet, stands on a line of its own and in no
leg: a leg may show it still, or no more, so it widens the total to both sides by what is in flight, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agentstate.services.cache.entry import Bounds, CacheEntry
from agentstate.services.cache.reading import Quality
from agentstate.services.operations.names import Service


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One agent's money at all services, in micro-USDC.

    Attributes:
        agent_id: the agent.
        legs: the reading of each service, with its quality, `as_of`, age and `bounds`; one that failed is unknown, with
            the age of the last that is known of.
        in_flight: what our books hold for calls without a known outcome, by service.
        moving: whether operations of the agent kept ending while it was read; the legs may then count money of one
            twice or not at all, and there is no total.
    """

    agent_id: str
    legs: Mapping[Service, CacheEntry]
    in_flight: Mapping[str, int] = field(default_factory=dict)
    moving: bool = False

    @property
    def unknown(self) -> tuple[Service, ...]:
        """The services with an unknown state."""
        return tuple(service for service, leg in self.legs.items() if leg.quality is Quality.UNKNOWN)

    @property
    def doubtful(self) -> tuple[Service, ...]:
        """The services with a worth known only within bounds; unknown and stale ones included."""
        return tuple(service for service, leg in self.legs.items() if not leg.bounds.is_exact)

    @property
    def known(self) -> int:
        """Sum of the last known amounts, stale ones included; not a total."""
        return sum(funds.worth for leg in self.legs.values() if (funds := leg.funds) is not None)

    @property
    def bounds(self) -> Bounds:
        """Lower and upper bound of the agent's total; `high` is None when a leg has no upper bound."""
        flying = sum(self.in_flight.values())
        bounds = [leg.bounds for leg in self.legs.values()]
        highs = [each.high for each in bounds]
        low = max(sum(each.low for each in bounds) - flying, 0)
        if self.moving or None in highs:
            return Bounds(0 if self.moving else low, None)
        return Bounds(low, sum(high for high in highs if high is not None) + flying)

    @property
    def total(self) -> int | None:
        """Exact total over all services; None while it is known only within bounds."""
        bounds = self.bounds
        return bounds.low if bounds.is_exact else None

    @property
    def as_of(self) -> tuple[datetime, datetime] | None:
        """Times of the oldest and the newest reading behind the known legs; None when there is none."""
        times = [
            leg.as_of for leg in self.legs.values() if leg.as_of is not None and leg.quality is not Quality.UNKNOWN
        ]
        return (min(times), max(times)) if times else None
