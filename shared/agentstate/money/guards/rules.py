"""Rules: the limits of an agent, as values and as stored rows.

A rule names its scope (agent, service, operation), the quantity that it measures (its kind), the maximum, and, where it
counts over time, the window. The window slides: it is always the last `window_s` seconds on the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput
from agentstate.ids import derive_id, validate_name
from agentstate.money.amounts import Money
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.guards import guard_rules
from agentstate.store.upsert import insert_new

EVERY = "*"
"""Stands for every service, every operation, or every agent."""

DAY_S = 86_400
LONGEST_WINDOW_S = 366 * DAY_S

Quantity: TypeAlias = Money | int
"""An amount, or a count."""


class RuleKind(StrEnum):
    """Quantity that a rule measures."""

    OPERATION = "operation"
    """The amount of one operation."""
    TOTAL = "total"
    """All amounts of the window together; what is open counts, however old."""
    LOSS = "loss"
    """Losses of the window by the ledger, less its winnings, and all that is in flight."""
    IN_FLIGHT = "in_flight"
    """All that is held for effects whose outcome is not known yet."""
    RATE = "rate"
    """How many operations began in the window."""
    UNEXPLAINED = "unexplained"
    """Money of effects that wait for a human, and of open breaks. Above it, money moves are frozen."""


WINDOWED = frozenset({RuleKind.TOTAL, RuleKind.LOSS, RuleKind.RATE})
SPENDING = frozenset({RuleKind.OPERATION, RuleKind.TOTAL, RuleKind.LOSS, RuleKind.IN_FLIGHT})
"""Kinds that limit the money of operations: where one binds, amounts in other currencies are refused."""

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
        if (self.window_s is not None) is not (self.kind in WINDOWED):
            needs = "needs a" if self.kind in WINDOWED else "has no"
            raise InvalidInput(f"a rule of {self.kind} {needs} window. Nothing was set.")
        whole = isinstance(self.window_s, int) and not isinstance(self.window_s, bool)
        if self.window_s is not None and not (whole and 0 < self.window_s <= LONGEST_WINDOW_S):
            raise InvalidInput(
                f"the window of {self.window_s!r} seconds is refused: use 1 to {LONGEST_WINDOW_S} whole seconds."
            )
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
        """Its name among the rules of its agent; an agent's own rule replaces the fleet's of the same name."""
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
    def scope(self) -> str:
        """The operations and services that it binds, in words."""
        service = "every service" if self.service == EVERY else self.service
        return service if self.operation == EVERY else f"{self.operation} at {service}"

    def quantity(self, number: int) -> Quantity:
        """Return `number`, in minor units or as a count, as the quantity that the rule measures."""
        return number if self.currency is None else Money.from_minor(number, self.currency)

    def describe(self) -> str:
        """Return the rule as one sentence, for people and prompts."""
        window = "" if self.window_s is None else format_window(self.window_s)
        shown = f"{self.maximum} operations" if self.kind is RuleKind.RATE else str(self.maximum)
        whose = ", for every agent by itself" if self.agent_id == EVERY else ""
        return f"{self.scope}: {_WORDS[self.kind].format(shown, window)}{whose}."


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRequest:
    """An operation that asks to start now, already written as row `id`, which does not count against itself.

    `at` is the start time in that row; windows end there.
    """

    id: UUID
    agent_id: str
    service: str
    operation: str
    amount: Money | None
    at: datetime

    def window_start(self, rule: Rule) -> datetime:
        """Return the start of the rule's window; operations that began later count."""
        return self.at - timedelta(seconds=rule.window_s or 0)

    def requested_quantity(self, rule: Rule) -> int:
        """Return how much of the rule's quantity is requested, in minor units or as a count."""
        if rule.kind is RuleKind.RATE:
            return 1
        return self.amount.minor if self.amount is not None and self.amount.currency == rule.currency else 0


def format_window(seconds: int) -> str:
    """Return a window as people say it: `1 day`, `90 seconds`."""
    for size, unit in ((DAY_S, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def upsert_rules(tx: Transaction, rules: Iterable[Rule]) -> None:
    """Store rules, each in place of the one of the same name, in the order in which requests lock them."""
    for rule in sorted(rules, key=lambda rule: rule.id):
        if not insert_new(tx, guard_rules, [_rule_row(rule)]):
            changes = {"maximum": rule.number, "set_by": rule.set_by, "set_at": db_time()}
            tx.connection.execute(sa.update(guard_rules).where(guard_rules.c.id == rule.id).values(changes))


def delete_rule(tx: Transaction, agent_id: str, rule_id: UUID) -> bool:
    """Delete a rule of an agent; False when it has none with this id."""
    mine = (guard_rules.c.id == rule_id) & (guard_rules.c.agent_id == agent_id)
    return tx.connection.execute(sa.delete(guard_rules).where(mine)).rowcount == 1


def read_rules(connection: Connection, agent_id: str) -> list[Rule]:
    """Return the rules that bind an agent, its own before the fleet's, in the order people read them."""
    table = guard_rules.c
    order = (table.agent_id.desc(), table.service, table.operation, table.kind, table.currency, table.window_s)
    found = sa.select(guard_rules).where(table.agent_id.in_([agent_id, EVERY])).order_by(*order)
    return _drop_replaced([_load_rule(row) for row in connection.execute(found)])


def lock_rules(tx: Transaction, request: GuardRequest) -> list[Rule]:
    """Return the rules that apply to `request`, locked until the end of `tx`, so that requests are decided in turn.

    The fleet's rules come first, and are locked for this agent alone, so that agents never wait for each other; then
    the agent's own in the order of their ids, so that two requests never wait for each other in a circle.
    """
    table = guard_rules.c
    here = table.service.in_((request.service, EVERY)) & table.operation.in_((request.operation, EVERY))
    applies = sa.select(guard_rules).where(here).order_by(table.id)
    fleet = [_load_rule(row) for row in tx.connection.execute(applies.where(table.agent_id == EVERY))]
    if fleet:
        tx.database.lock_key(tx.connection, sa.func.hashtextextended(f"guards of {request.agent_id}", 0))
    mine = applies.where(table.agent_id == request.agent_id).with_for_update()
    return _drop_replaced([*(_load_rule(row) for row in tx.connection.execute(mine)), *fleet])


def _drop_replaced(rules: Iterable[Rule]) -> list[Rule]:
    """Return the first rule of each name."""
    named: dict[object, Rule] = {}
    for rule in rules:
        named.setdefault(rule.name, rule)
    return list(named.values())


def _rule_row(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "agent_id": rule.agent_id,
        "service": rule.service,
        "operation": rule.operation,
        "kind": str(rule.kind),
        "currency": rule.currency,
        "maximum": rule.number,
        "window_s": rule.window_s,
        "set_by": rule.set_by,
        "set_at": db_time(),
    }


def _load_rule(row: sa.Row[Any]) -> Rule:
    return Rule(
        agent_id=row.agent_id,
        service=row.service,
        operation=row.operation,
        kind=RuleKind(row.kind),
        maximum=row.maximum if row.currency is None else Money.from_minor(row.maximum, row.currency),
        window_s=row.window_s,
        set_by=row.set_by,
        set_at=row.set_at,
    )
