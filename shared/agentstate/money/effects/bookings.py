"""Booking an outcome: what it moved for the agent, and for other agents of ours, in the outcome's own transaction.

What was held is given back and what happened is taken, netted to one entry an account. When money moves for a second
agent too, all accounts are locked together first, so that two agents who pay each other do not wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agentstate.money.effects.table import Effect
from agentstate.money.ledger.accounts import lock_accounts_of_agents
from agentstate.money.ledger.ledger import Ledgers, reverse_lines, spend_all
from agentstate.money.ledger.postings import Credit, Line, Posting, net_lines
from agentstate.money.reconciliation.enrolment import is_enrolled
from agentstate.store.store import Store, Transaction

SCOPE = "effect"
"""Scope of the ledger keys that effects choose."""

Postings: TypeAlias = Callable[[Any], Sequence[Line]]
Credits: TypeAlias = Callable[[Any], Sequence[Credit]]
FollowUp: TypeAlias = Callable[[Transaction, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookings:
    """How to book a success, each from the receipt: for the agent, for others, and what else to write."""

    postings: Postings | None = None
    credits: Credits | None = None
    follow_up: FollowUp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What an outcome moved; `lines` is None when it is what was held."""

    lines: Sequence[Line] | None = None
    credits: Sequence[Credit] = field(default_factory=tuple)

    @classmethod
    def by(cls, receipt: Any, bookings: Bookings) -> Happened:
        """What `receipt` says; raises whatever the caller's functions raise."""
        return cls(
            lines=bookings.postings(receipt) if bookings.postings else None,
            credits=tuple(bookings.credits(receipt)) if bookings.credits else (),
        )


NOTHING = Happened(lines=())
"""Nothing was moved: what was held is given back."""


class Bookkeeper:
    """Books outcomes of effects, of any agent."""

    def __init__(self, store: Store) -> None:
        self._ledgers = Ledgers(store)

    def book(
        self,
        tx: Transaction,
        effect: Effect,
        happened: Happened,
        kind: str,
        *,
        decide: Callable[[], bool],
        held: Sequence[Line] | None = None,
        suspend: bool = False,
    ) -> bool:
        """Post what happened and end the hold, once `decide` has written the outcome; return what `decide` returned.

        All accounts are locked before `decide` is called: whoever ends an effect takes the locks of its money first.
        `held` are the lines of the hold, where they are known.

        Raises:
            InsufficientFunds: the books lack what has moved; with `suspend` the lack goes to suspense instead.
        """
        taken = self._held(tx, effect) if held is None else held
        own = self.settlement(effect, taken, happened, kind, suspend=suspend)
        postings = [(effect.agent_id, own)] if own.lines else []
        others = [credit for credit in happened.credits if is_enrolled(tx, credit.agent_id)]
        postings += [(credit.agent_id, _credit(effect, number, credit)) for number, credit in enumerate(others)]
        lock_accounts_of_agents(tx, [(agent, line.account) for agent, posting in postings for line in posting.lines])
        if not decide():
            return False
        for agent, posting in postings:
            self._ledgers.for_agent(agent).write(posting, tx=tx)
        return True

    def settlement(
        self, effect: Effect, held: Sequence[Line], happened: Happened, kind: str, *, suspend: bool = False
    ) -> Posting:
        """The posting in the agent's own books; without lines when nothing was held and nothing moved."""
        given = reverse_lines(held)
        moved = spend_all(given) if happened.lines is None else happened.lines
        return Posting(
            key=f"{effect.id}:{kind}",
            lines=net_lines([*given, *moved]),
            kind=kind,
            scope=SCOPE,
            effect_id=effect.id,
            resolves=effect.hold_id,
            meta={"operation": effect.operation, "key": effect.key},
            suspend_shortage=suspend,
            # Made once for the effect, whatever it moves: the fence saw to that.
            sha=effect.params_sha,
        )

    def _held(self, tx: Transaction, effect: Effect) -> Sequence[Line]:
        if effect.hold_id is None:
            return []
        return self._ledgers.for_agent(effect.agent_id).hold_lines(tx.connection, effect.hold_id)


def _credit(effect: Effect, number: int, credit: Credit) -> Posting:
    return Posting(
        key=f"{effect.id}:credit:{number}",
        lines=credit.lines,
        kind="credit",
        scope=SCOPE,
        effect_id=effect.id,
        meta={"operation": effect.operation, "from": effect.agent_id},
    )
