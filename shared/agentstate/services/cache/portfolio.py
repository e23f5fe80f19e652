"""A portfolio: six readings of one agent side by side, and a total only when all of them are known exactly.

Money in flight, which our books hold for calls whose outcome is not known yet, stands on a line of its own and in no
leg: a leg may show it still, or no more, so it widens the total to both sides by what is in flight, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agentstate.services.cache.entry import Bounds, CacheEntry
from agentstate.services.cache.quality import Quality
from agentstate.services.operations.names import Service


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One agent's money at all services, in micro-USDC.

    Attributes:
        agent_id: whose.
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
        """The services of which nothing is known now."""
        return tuple(service for service, leg in self.legs.items() if leg.quality is Quality.UNKNOWN)

    @property
    def doubtful(self) -> tuple[Service, ...]:
        """The services whose worth is known within bounds alone; unknown and stale ones included."""
        return tuple(service for service, leg in self.legs.items() if not leg.bounds.is_exact)

    @property
    def known(self) -> int:
        """What the services show or last showed: stale ones included, so never taken for a total."""
        return sum(funds.worth for leg in self.legs.values() if (funds := leg.funds) is not None)

    @property
    def bounds(self) -> Bounds:
        """The least and the most that the agent can have in all; `high` is None where a leg has no upper bound."""
        flying = sum(self.in_flight.values())
        bounds = [leg.bounds for leg in self.legs.values()]
        highs = [each.high for each in bounds]
        low = max(sum(each.low for each in bounds) - flying, 0)
        if self.moving or None in highs:
            return Bounds(0 if self.moving else low, None)
        return Bounds(low, sum(high for high in highs if high is not None) + flying)

    @property
    def total(self) -> int | None:
        """What the agent has at all services; None, not less, while that is known within bounds alone."""
        bounds = self.bounds
        return bounds.low if bounds.is_exact else None

    @property
    def as_of(self) -> tuple[datetime, datetime] | None:
        """The moments of the oldest and the newest reading that the known legs stand on; None when there is none."""
        times = [
            leg.as_of for leg in self.legs.values() if leg.as_of is not None and leg.quality is not Quality.UNKNOWN
        ]
        return (min(times), max(times)) if times else None
