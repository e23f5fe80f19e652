"""The guards of one agent: its rules and freezes, set, shown and used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from agentstate.errors import InvalidInput, NotFound
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Amount, parse_money
from agentstate.money.effects.table import lease_owner_name
from agentstate.money.guards import freezes, rule_rows
from agentstate.money.guards.decorators import guarded
from agentstate.money.guards.freezes import Freeze
from agentstate.money.guards.rules import DAY_S, EVERY, WINDOWED, Quantity, Rule, RuleKind
from agentstate.money.guards.uses import Use, open_use
from agentstate.store.store import Store, Transaction

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """An agent's rules and freezes as they stood when they were read."""

    agent_id: str
    rules: tuple[Rule, ...]
    freezes: tuple[Freeze, ...]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def describe(self) -> str:
        """All of them in plain sentences, one a line: for people, and for an agent's prompt."""
        lines = [f"- {freeze.describe()}" for freeze in self.freezes]
        lines += [f"- {rule.describe()}" for rule in self.rules]
        return "\n".join([f"Limits of {self.agent_id}, enforced whatever is decided:", *(lines or ["- none."])])

    __str__ = describe


class Guards:
    """The guards of one agent, or of the whole fleet: those of `*`. Safe to share between threads.

    A limit of the fleet binds each agent by itself, unless it has one of its own for the same service, operation,
    currency and window. A freeze of the fleet stops all.
    """

    def __init__(self, store: Store, agent_id: str) -> None:
        self.agent_id = agent_id if agent_id == EVERY else validate_name(agent_id)
        self._store = store

    def limit(
        self,
        *,
        per_operation: Amount | None = None,
        total: Amount | None = None,
        loss: Amount | None = None,
        in_flight: Amount | None = None,
        rate: int | None = None,
        unexplained: Amount | None = None,
        service: str = EVERY,
        operation: str = EVERY,
        window_s: int = DAY_S,
        currency: str = DEFAULT_CURRENCY,
        who: str | None = None,
        tx: Transaction | None = None,
    ) -> list[Rule]:
        """Set limits, each in the place of the one with the same name, service, operation, currency and window.

        They hold for all processes from the commit on. An effect costs what it holds, or takes if that is more; what is
        in flight or in doubt counts. One without a hold is counted afterwards, by what it took.

        Args:
            per_operation: the most that one operation may cost.
            total: the most that all in the window may cost, those that won back included.
            loss: the most that may be lost in the window: losses less winnings, and all that is in flight.
            in_flight: the most that may be held for outcomes that are not known yet.
            rate: how many may begin in the window.
            unexplained: above this much money of manual effects and open breaks, money moves are frozen.
            service: whom it binds; every service together when unset.
            operation: as `service`.
            window_s: length of the sliding window of `total`, `loss` and `rate`; seconds.
            currency: of amounts that do not carry one.
            who: who sets it, for the record; this process when unset.
            tx: the caller's transaction.

        Raises:
            AmountInvalid, InvalidInput: nothing was set.
        """
        amounts = {
            RuleKind.OPERATION: per_operation,
            RuleKind.TOTAL: total,
            RuleKind.LOSS: loss,
            RuleKind.IN_FLIGHT: in_flight,
            RuleKind.UNEXPLAINED: unexplained,
        }
        maxima: dict[RuleKind, Quantity] = {
            kind: parse_money(value, currency) for kind, value in amounts.items() if value is not None
        }
        if rate is not None:
            maxima[RuleKind.RATE] = rate
        named = self._named(service, operation, who or lease_owner_name())
        rules = [
            named(kind=kind, maximum=most, window_s=window_s if kind in WINDOWED else None)
            for kind, most in maxima.items()
        ]
        if not rules:
            raise InvalidInput("no limit was named: give per_operation, total, loss, in_flight, rate or unexplained.")
        with self._store.transaction(tx) as opened:
            rule_rows.upsert_rules(opened, rules)
        return rules

    def remove(self, rule_id: UUID, *, tx: Transaction | None = None) -> None:
        """Remove one rule; raises NotFound, also for another agent's."""
        with self._store.transaction(tx) as opened:
            if not rule_rows.delete_rule(opened, self.agent_id, rule_id):
                raise NotFound(f"{self.agent_id} has no rule {rule_id}.")

    def freeze(self, service: str, reason: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Stop money moves at `service` (`*`: everywhere) that have not begun; False when they are stopped already."""
        with self._store.transaction(tx) as opened:
            return freezes.insert_freeze(opened, self.agent_id, service, reason=reason, who=who or lease_owner_name())

    def unfreeze(self, service: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Lift the freeze of `service`; False when there is none."""
        with self._store.transaction(tx) as opened:
            return freezes.lift_freeze(opened, self.agent_id, service, who=who or lease_owner_name())

    def rules(self) -> Rules:
        """All rules and freezes that bind the agent, the fleet's among them; `describe()` puts them into words."""
        with self._store.read_connection() as connection:
            found = rule_rows.read_rules(connection, self.agent_id)
            frozen = freezes.read_freezes(connection, self.agent_id)
        return Rules(agent_id=self.agent_id, rules=tuple(found), freezes=tuple(frozen))

    def use(
        self, amount: Amount | None = None, *, service: str, operation: str = "action", longest_s: float = 3_600.0
    ) -> AbstractContextManager[Use]:
        """Run a block of one's own code under the rules: `with agent.guards.use("5", service="casino"):`.

        For what is not done through effects, which ask by themselves. It counts also when the block fails; call
        `release()` on what the block is given when nothing happened. No ledger entries belong to it, so a limit on
        losses counts it only while it runs.

        Raises:
            LimitExceeded, Frozen, AmountInvalid, InvalidInput: the block was not run.
        """
        validate_name(self.agent_id)
        money = None if amount is None else parse_money(amount)
        return open_use(self._store, self.agent_id, money, service=service, operation=operation, longest_s=longest_s)

    def guard(
        self, *, service: str, operation: str = "action", parameter: str = "amount", currency: str = DEFAULT_CURRENCY
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator that runs each call of a function, plain or async, as `use` of the amount in `parameter`."""
        return guarded(
            lambda amount: self.use(amount, service=service, operation=operation),
            parameter=parameter,
            currency=currency,
        )

    def _named(self, service: str, operation: str, who: str) -> Callable[..., Rule]:
        return partial(Rule, agent_id=self.agent_id, service=service, operation=operation, set_by=who)
