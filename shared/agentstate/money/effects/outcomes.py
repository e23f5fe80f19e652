"""Outcomes of calls: as they are stored, and as they are booked.

An outcome is stored in a tagged envelope, so that None, {}, 0 and "" are results like any other. A result is made plain
before it is stored and before it is returned, so that the first call and every replay give equal values. A result that
cannot be stored exactly is kept as its description: the fact that the call succeeded is never lost to the shape of its
answer.

Booking gives back the hold and takes what the call moved, netted to one entry an account, in the outcome's own
transaction. When money moves for a second agent too, all accounts are locked together first, so that two agents who
pay each other do not wait in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentstate.money.effects.claims import SCOPE
from agentstate.money.effects.operation import Operation
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.ledger.accounts import lock_accounts_of_agents
from agentstate.money.ledger.ledger import SETTLE, VOID
from agentstate.money.ledger.postings import Credit, Line, Posting, net_lines, spend_all
from agentstate.money.ledger.statement import read_hold_lines
from agentstate.money.ledger.writer import write_posting
from agentstate.money.reconciliation.enrolment import is_enrolled
from agentstate.state import codec
from agentstate.store.store import Transaction

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """The outcome of a call, complete for recording.

    Attributes:
        state: `succeeded` or `failed`.
        envelope: the outcome as it is stored.
        lines: what it moved for the agent; None: what was held is spent.
        credits: what it moved for other agents.
        follow_up: writes more in the transaction of the outcome.
    """

    state: EffectState
    envelope: dict[str, Any]
    lines: Sequence[Line] | None = ()
    credits: Sequence[Credit] = ()
    follow_up: Callable[[Transaction], None] | None = None

    @classmethod
    def from_receipt(cls, operation: Operation[Any], receipt: Any, envelope: dict[str, Any]) -> OutcomeRecord:
        """Return the record of a success; errors of the operation's own bookkeeping pass through."""
        lines = operation.postings(receipt)
        follow_up = operation.follow_up
        return cls(
            state=EffectState.SUCCEEDED,
            envelope=envelope,
            lines=None if lines is None else tuple(lines),
            credits=tuple(operation.credits(receipt)),
            follow_up=None if follow_up is None else lambda tx: follow_up(tx, receipt),
        )

    @classmethod
    def from_failure(cls, code: str, message: str) -> OutcomeRecord:
        """Return the record of a call that certainly had no effect."""
        envelope = {"v": _VERSION, "ok": False, "code": codec.to_plain(code), "message": codec.to_plain(message)}
        return cls(state=EffectState.FAILED, envelope=envelope)

    def to_evidence(self) -> dict[str, Any]:
        """Return all of a success but its follow-up, for a process that has to book it later."""

        def describe_lines(lines: Sequence[Line]) -> list[list[Any]]:
            return [[line.service, str(line.bucket), line.amount] for line in lines]

        return {
            "outcome": self.envelope,
            "lines": None if self.lines is None else describe_lines(self.lines),
            "credits": [{"agent_id": each.agent_id, "lines": describe_lines(each.lines)} for each in self.credits],
        }

    @classmethod
    def from_evidence(cls, detail: Mapping[str, Any]) -> OutcomeRecord:
        """Return the success that `to_evidence` described."""
        return cls(
            state=EffectState.SUCCEEDED,
            envelope=detail["outcome"],
            lines=None if detail["lines"] is None else [Line(*line) for line in detail["lines"]],
            credits=[Credit(each["agent_id"], [Line(*line) for line in each["lines"]]) for each in detail["credits"]],
        )

    def book(
        self,
        tx: Transaction,
        effect: Effect,
        *,
        write_outcome: Callable[[], bool],
        held: Sequence[Line] | None = None,
        suspend: bool = False,
    ) -> bool:
        """Post the outcome and end the hold once `write_outcome` has succeeded; return its result.

        All accounts are locked before it is called: whoever ends an effect takes the locks of its money first. `held`
        are the lines of the hold, where they are known.

        Raises:
            InsufficientFunds: the books lack what has moved; with `suspend` the lack goes to suspense instead.
        """
        if held is None:
            hold_id = effect.hold_id
            held = [] if hold_id is None else read_hold_lines(tx.connection, effect.agent_id, hold_id)
        own = self.make_settlement(effect, held, suspend=suspend)
        postings = [(effect.agent_id, own)] if own.lines else []
        enrolled = [credit for credit in self.credits if is_enrolled(tx, credit.agent_id)]
        for number, credit in enumerate(enrolled):
            posting = Posting(
                key=f"{effect.id}:credit:{number}",
                lines=credit.lines,
                kind="credit",
                scope=SCOPE,
                effect_id=effect.id,
                meta={"operation": effect.operation, "from": effect.agent_id},
            )
            postings.append((credit.agent_id, posting))
        lock_accounts_of_agents(tx, [(agent, line.account) for agent, posting in postings for line in posting.lines])
        if not write_outcome():
            return False
        for agent, posting in postings:
            write_posting(tx, agent, posting)
        return True

    def make_settlement(self, effect: Effect, held: Sequence[Line], *, suspend: bool = False) -> Posting:
        """Return the posting in the agent's own books; without lines when nothing was held and nothing moved."""
        kind = SETTLE if self.state is EffectState.SUCCEEDED else VOID
        return Posting(
            key=f"{effect.id}:{kind}",
            lines=net_lines(spend_all(held) if self.lines is None else self.lines, released=held),
            kind=kind,
            scope=SCOPE,
            effect_id=effect.id,
            resolves=effect.hold_id,
            meta={"operation": effect.operation, "key": effect.key},
            suspend_shortage=suspend,
            # Made once for the effect, whatever it moves: the fence saw to that.
            sha=effect.params_sha,
        )


def make_envelope(operation: Operation[Any] | None, receipt: Any) -> dict[str, Any]:
    """Return the envelope of a receipt. One that its operation cannot store is kept as it is: it did happen."""
    try:
        stored = receipt if operation is None else operation.store_receipt(receipt)
    except Exception:  # noqa: BLE001 the fact of the success is not lost to the shape of its receipt
        stored = receipt
    return {"v": _VERSION, "ok": True, "value": codec.to_plain(stored)}
