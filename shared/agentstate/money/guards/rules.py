"""Rules: what an agent may do at most, as values.

A rule names whom it binds (agent, service, operation), what it measures (its kind), the most that it allows, and, where
it counts over time, the window. The window slides: it is always the last `window_s` seconds on the database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from agentstate.errors import InvalidInput
from agentstate.ids import derive_id, validate_name
from agentstate.money.amounts import Money

EVERY = "*"
"""Stands for every service, every operation, or every agent."""

DAY_S = 86_400
LONGEST_WINDOW_S = 366 * DAY_S

Quantity: TypeAlias = Money | int
"""An amount, or a count."""


class RuleKind(StrEnum):
    """What a rule measures."""

    OPERATION = "operation"
    """The amount of one operation."""
    TOTAL = "total"
    """All amounts of the window together; what is open counts, however old."""
    LOSS = "loss"
    """What the effects of the window lost by the ledger, less what they won, and all that is in flight."""
    IN_FLIGHT = "in_flight"
    """All that is held for effects whose outcome is not known yet."""
    RATE = "rate"
    """How many operations began in the window."""
    UNEXPLAINED = "unexplained"
    """What waits for a human: money of manual effects, and open breaks. Above it, money moves are frozen."""


WINDOWED = frozenset({RuleKind.TOTAL, RuleKind.LOSS, RuleKind.RATE})

_WORDS = {
    RuleKind.OPERATION: "one operation may cost at most {0}",
    RuleKind.TOTAL: "all together may cost at most {0} in {1}",
    RuleKind.LOSS: "at most {0} may be lost in {1}, counting what is in flight",
    RuleKind.IN_FLIGHT: "at most {0} may be in flight",
    RuleKind.RATE: "at most {0} may begin in {1}",
    RuleKind.UNEXPLAINED: "frozen while more than {0} is unexplained",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; one of the agent `*` binds every agent that has none of that name, each by itself.

    Raises:
        InvalidInput: a name, the maximum or the window is wrong, or missing where its kind needs one.
    """

    agent_id: str
    kind: RuleKind
    maximum: Quantity
    service: str = EVERY
    operation: str = EVERY
    window_s: int | None = None
    set_by: str = ""
    set_at: datetime | None = None

    def __post_init__(self) -> None:
        for value, what in ((self.agent_id, "agent id"), (self.service, "service"), (self.operation, "operation")):
            if value != EVERY:
                validate_name(value, what)
        _check_window(self.kind, self.window_s)
        if isinstance(self.maximum, Money) is (self.kind is RuleKind.RATE) or isinstance(self.maximum, bool):
            wanted = "a whole number" if self.kind is RuleKind.RATE else "an amount"
            raise InvalidInput(f"the maximum {self.maximum!r} of {self.kind} is refused: give {wanted}.")
        if self.number < 0:
            raise InvalidInput(f"the maximum {self.maximum} of {self.kind} is below zero; 0 allows nothing.")

    @property
    def id(self) -> UUID:
        """Always the same for the same agent, service, operation, kind, currency and window."""
        parts = (self.agent_id, self.service, self.operation, self.kind, self.currency or "", str(self.window_s))
        return derive_id("guard", *parts)

    @property
    def name(self) -> tuple[object, ...]:
        """What names it among the rules of its agent: a rule of an agent's own replaces the fleet's of that name."""
        return self.service, self.operation, self.kind, self.currency, self.window_s

    @property
    def currency(self) -> str | None:
        """The currency it measures; None for a rate."""
        return self.maximum.currency if isinstance(self.maximum, Money) else None

    @property
    def number(self) -> int:
        """The maximum as it is stored: minor units, or a count."""
        return self.maximum.minor if isinstance(self.maximum, Money) else self.maximum

    @property
    def binds(self) -> str:
        """Whom it binds, in words."""
        service = "every service" if self.service == EVERY else self.service
        return service if self.operation == EVERY else f"{self.operation} at {service}"

    def quantity(self, number: int) -> Quantity:
        """`number` of what the rule measures."""
        return number if self.currency is None else Money.from_minor(number, self.currency)

    def describe(self) -> str:
        """The rule in one sentence, for people and prompts."""
        window = "" if self.window_s is None else length(self.window_s)
        shown = f"{self.maximum} operations" if self.kind is RuleKind.RATE else str(self.maximum)
        whose = ", for every agent by itself" if self.agent_id == EVERY else ""
        return f"{self.binds}: {_WORDS[self.kind].format(shown, window)}{whose}."


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRequest:
    """What wants to happen now: already written as row `id`, which does not count against itself.

    `at` is when that row says it began; windows end there.
    """

    id: UUID
    agent_id: str
    service: str
    operation: str
    amount: Money | None
    at: datetime

    def window_start(self, rule: Rule) -> datetime:
        """Where the rule's window begins; what began later than that counts."""
        return self.at - timedelta(seconds=rule.window_s or 0)

    def requested_quantity(self, rule: Rule) -> int:
        """How much of what the rule measures is asked for."""
        if rule.kind is RuleKind.RATE:
            return 1
        return self.amount.minor if self.amount is not None and self.amount.currency == rule.currency else 0


def length(seconds: int) -> str:
    """A window as people say it: `1 day`, `90 seconds`."""
    for size, unit in ((DAY_S, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _check_window(kind: RuleKind, window_s: int | None) -> None:
    if (window_s is not None) is not (kind in WINDOWED):
        raise InvalidInput(f"a rule of {kind} {'needs' if kind in WINDOWED else 'has no'} window. Nothing was set.")
    whole = isinstance(window_s, int) and not isinstance(window_s, bool)
    if window_s is not None and not (whole and 0 < window_s <= LONGEST_WINDOW_S):
        raise InvalidInput(f"the window of {window_s!r} seconds is refused: use 1 to {LONGEST_WINDOW_S} whole seconds.")
