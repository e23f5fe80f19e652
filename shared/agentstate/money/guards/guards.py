"""The guards of one agent: its rules and freezes, set, shown and used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from agentstate.errors import InvalidInput, NotFound
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Amount, parse_money
from agentstate.money.effects.table import lease_owner_name
from agentstate.money.guards.decorators import guard_calls
from agentstate.money.guards.freezes import Freeze, insert_freeze, lift_freeze, read_freezes
from agentstate.money.guards.rules import (
    DAY_S,
    EVERY,
    SPENDING,
    WINDOWED,
    Quantity,
    Rule,
    RuleKind,
    delete_rule,
    read_rules,
    upsert_rules,
)
from agentstate.money.guards.uses import Use, open_use, open_use_async
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
        """Return all of them in plain sentences, one a line: for people, and for an agent's prompt."""
        lines = [f"- {freeze.describe()}" for freeze in self.freezes]
        lines += [f"- {rule.describe()}" for rule in self.rules]
        if any(rule.kind in SPENDING for rule in self.rules):
            lines.append("- An amount in a currency that none of the limits on it names is refused.")
        return "\n".join([f"Limits of {self.agent_id}, enforced whatever is decided:", *(lines or ["- none."])])

    __str__ = describe


class Guards:
    """The limits and freezes of one agent, `agent.guards`, or of the whole fleet: those of `*`.

    Safe to share between threads.

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
        """Set limits, each in place of the one of the same kind, service, operation, currency and window.

        They hold for all processes from the commit on. An effect costs its hold, or the money that it took if that is
        more; open effects count. One without a hold is counted afterwards, by the money that it took. Where limits bind
        an operation, an amount in a currency that none of them names is refused.

        Args:
            per_operation: the most that one operation may cost.
            total: the most that all in the window may cost, those that won back included.
            loss: the most that may be lost in the window: losses less winnings, and all that is in flight.
            in_flight: the most that may be held for outcomes that are not known yet.
            rate: how many may begin in the window.
            unexplained: above this much money of manual effects and open breaks, money moves are frozen.
            service: the service that it binds; all services together when unset.
            operation: the operation that it binds, such as `casino.bet`; all together when unset.
            window_s: length of the sliding window of `total`, `loss` and `rate`; seconds.
            currency: of amounts that do not carry one.
            who: the person or program that sets it, for the record; this process when unset.
            tx: the caller's transaction.

        Raises:
            AmountInvalid, InvalidInput: nothing was set.

        Example:
            agent.guards.limit(per_operation="50", total="500", service="casino")
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
        limits = [
            Rule(
                agent_id=self.agent_id,
                service=service,
                operation=operation,
                kind=kind,
                maximum=maximum,
                window_s=window_s if kind in WINDOWED else None,
                set_by=who or lease_owner_name(),
            )
            for kind, maximum in maxima.items()
        ]
        if not limits:
            raise InvalidInput("no limit was named: give per_operation, total, loss, in_flight, rate or unexplained.")
        with self._store.transaction(tx) as opened:
            upsert_rules(opened, limits)
        return limits

    def remove(self, rule_id: UUID, *, tx: Transaction | None = None) -> None:
        """Remove one rule; raise NotFound when the agent has none with this id.

        Example:
            agent.guards.remove(agent.guards.rules().rules[0].id)
        """
        with self._store.transaction(tx) as opened:
            if not delete_rule(opened, self.agent_id, rule_id):
                raise NotFound(f"{self.agent_id} has no rule {rule_id}.")

    def freeze(self, service: str, reason: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Stop money moves at `service` (`*`: everywhere) that have not begun; return False when they are stopped.

        Example:
            agent.guards.freeze("casino", reason="the balance looks odd", who="ops")
        """
        with self._store.transaction(tx) as opened:
            return insert_freeze(opened, self.agent_id, service, reason=reason, who=who or lease_owner_name())

    def unfreeze(self, service: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Lift the freeze of `service`; return False when there is none.

        Example:
            agent.guards.unfreeze("casino", who="ops")
        """
        with self._store.transaction(tx) as opened:
            return lift_freeze(opened, self.agent_id, service, who=who or lease_owner_name())

    def rules(self) -> Rules:
        """Return all rules and freezes that bind the agent, the fleet's among them.

        Example:
            for rule in agent.guards.rules():
                print(rule.describe())
        """
        with self._store.read_connection() as connection:
            found = read_rules(connection, self.agent_id)
            frozen = read_freezes(connection, self.agent_id)
        return Rules(agent_id=self.agent_id, rules=tuple(found), freezes=tuple(frozen))

    def describe(self) -> str:
        """Return the rules and freezes that bind the agent as plain sentences, for people and prompts.

        Example:
            agent.context().set("rules", agent.guards.describe())
        """
        return self.rules().describe()

    def use(
        self, amount: Amount | None = None, *, service: str, operation: str = "action", longest_s: float = 3_600.0
    ) -> AbstractContextManager[Use]:
        """Run a block of one's own code under the rules, as an operation that costs `amount`.

        For code without effects, which are authorized by themselves. It counts also when the block fails; call
        `release()` on the use when nothing happened. No ledger entries belong to it, so a limit on losses counts it
        only while it runs.

        Args:
            amount: the most that the block may cost, above zero; None when it costs nothing.
            service: the service whose limits bind it.
            operation: the operation whose limits bind it.
            longest_s: seconds after which a use whose process died no longer counts as running; at most a day.

        Raises:
            LimitExceeded, Frozen, AmountInvalid, InvalidInput: the block was not run.

        Example:
            with agent.guards.use("5", service="casino", operation="tip") as use:
                if not send_tip():
                    use.release()
        """
        money = None if amount is None else parse_money(amount)
        agent_id = validate_name(self.agent_id)
        return open_use(self._store, agent_id, money, service=service, operation=operation, longest_s=longest_s)

    def use_async(
        self, amount: Amount | None = None, *, service: str, operation: str = "action", longest_s: float = 3_600.0
    ) -> AbstractAsyncContextManager[Use]:
        """Run a block of one's own code under the rules, for `async with`; the store is asked in a thread.

        Example:
            async with agent.guards.use_async("5", service="casino"):
                await send_tip()
        """
        money = None if amount is None else parse_money(amount)
        agent_id = validate_name(self.agent_id)
        return open_use_async(self._store, agent_id, money, service=service, operation=operation, longest_s=longest_s)

    def guard(
        self, *, service: str, operation: str = "action", parameter: str = "amount", currency: str = DEFAULT_CURRENCY
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that runs each call of a function, plain or async, as `use` of its `parameter`.

        Example:
            @agent.guards.guard(service="casino", operation="tip")
            async def tip(player: str, amount: str) -> None: ...
        """
        return guard_calls(
            partial(self.use, service=service, operation=operation),
            partial(self.use_async, service=service, operation=operation),
            parameter=parameter,
            currency=currency,
        )
