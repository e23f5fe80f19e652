"""Observations: balances shown by a service, and the protocols of their readers.

A reader without an observation raises or leaves it out; no value stands for "nothing was seen".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from agentstate.money.amounts import Money

LIVE = "live"
"""Quality of an answer that the service itself gave just now, in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Balances shown by `service` at `as_of` (timezone-aware)."""

    service: str
    balances: Mapping[str, Decimal]
    """Free money by currency, in whole units, as exact as the service gave it."""
    as_of: datetime
    worth: Mapping[str, Decimal] = field(default_factory=dict)
    """Worth of the account in a portfolio, by currency, where that is more than its free money: with positions."""
    quality: str = LIVE
    """`live`, or why the answer is worth less: `fallback`, `partial`, `suspect_zero`."""

    def balance_in(self, currency: str) -> Money | None:
        """Return the balance in `currency`, rounded half to even to its scale; None when it was not shown."""
        shown = self.balances.get(currency)
        return None if shown is None else Money(shown, currency, rounding="half_even")

    def worth_beyond(self, currency: str) -> Money | None:
        """Return the money owned beyond the free balance, such as open positions; None when it was not shown."""
        free, worth = self.balance_in(currency), self.worth.get(currency)
        if free is None or worth is None:
            return None
        return Money(worth, currency, rounding="half_even") - free


class BalanceReader(Protocol):
    """Reads a balance from the service itself."""

    def read_balance(self, agent_id: str, service: str) -> Observation:
        """Read the balance that the service shows now; raises an AgentStateError when it does not answer."""


class SeenReader(Protocol):
    """Reads the last observations, without asking any service."""

    def read_last_seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        """Return the last observation of each of `services` that has one."""
