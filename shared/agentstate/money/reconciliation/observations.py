"""What a service showed, and who can tell: the border between the books and the readers of services.

A reader that cannot tell raises or says so; there is no value that stands for "nothing was seen".
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
    """What `service` showed at `as_of` (timezone-aware)."""

    service: str
    balances: Mapping[str, Decimal]
    """Free money by currency, in whole units, as exact as the service gave it."""
    as_of: datetime
    worth: Mapping[str, Decimal] = field(default_factory=dict)
    """What the service adds to a portfolio, by currency, where that is not its free money: positions included."""
    quality: str = LIVE
    """`live`, or why the answer is worth less: `fallback`, `partial`, `suspect_zero`."""

    def balance_in(self, currency: str) -> Money | None:
        """The balance in `currency`, rounded half to even to its scale; None when it was not shown."""
        shown = self.balances.get(currency)
        return None if shown is None else Money(shown, currency, rounding="half_even")

    def worth_beyond(self, currency: str) -> Money | None:
        """What is owned there beyond the free money, such as open positions; None when it was not shown."""
        free, worth = self.balance_in(currency), self.worth.get(currency)
        if free is None or worth is None:
            return None
        return Money(worth, currency, rounding="half_even") - free


class BalanceReader(Protocol):
    """Reads a balance from the service itself."""

    def read_balance(self, agent_id: str, service: str) -> Observation:
        """What the service shows now; raises an AgentStateError when it does not answer."""


class SeenReader(Protocol):
    """Tells what was seen last, without asking any service."""

    def read_last_seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        """The last observation of each of `services` that there is one of."""
