"""A portfolio: six readings of one agent side by side, and a total only when all of them are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentstate.services.entries import CacheEntry, Quality
from agentstate.services.names import Service


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One agent's money at all services.

    Attributes:
        agent_id: whose.
        legs: the reading of each service; one that failed is unknown, with the age of the last that is known of.
    """

    agent_id: str
    legs: Mapping[Service, CacheEntry]
    moving: bool = False

    @property
    def unknown(self) -> tuple[Service, ...]:
        """The services of which nothing is known now."""
        return tuple(service for service, leg in self.legs.items() if leg.quality is Quality.UNKNOWN)

    @property
    def known(self) -> int:
        """Micro-USDC at the services that are known, stale ones included."""
        return sum(funds.worth for leg in self.legs.values() if (funds := leg.funds) is not None)

    @property
    def total(self) -> int | None:
        """Micro-USDC at all services; None, not less, while any is unknown."""
        return None if self.unknown else self.known
