"""Money that moves at the casino without a game: payments to other agents, withdrawals to a chain, the daily bonus.

None of them keeps a reference of ours. One of a kind is in flight for an account, and what its ledger or its list of
withdrawals has beyond what it had before tells which it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from agentstate.money.amounts import Amount, Money, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, earn
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.http.own_request import OwnRequest, add_own_paths
from agentstate.services.operations.amounts import wire_amount
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import AgentId, AmountRule, Dollars, Text, TextRule
from agentstate.services.operations.receipts import Receipt
from agentstate.services.operations.service_ledger import read_ledger

WITHDRAWAL_FEE: Final = Money("0.50")
"""The fee of every withdrawal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReceipt(Receipt):
    """A payment; `to` is the agent that has it."""

    to: str


@dataclass(frozen=True, kw_only=True)
class Pay(ServiceOperation[PaymentReceipt]):
    """Pay another agent at once; the memo is not stored there."""

    name = "casino.pay"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:pay"  # one payment at a time for an account.
    cost = "amount"
    refusals = frozenset(
        {"invalid_amount", "invalid_recipient", "recipient_not_found", "self_payment", "insufficient_balance"}
    )

    to: AgentId
    amount: Dollars
    memo: Text | None = None

    def body(self, tag: str) -> Body:
        """Return recipient, amount and memo; the memo is echoed and forgotten, so it can carry no tag."""
        del tag
        memo = {} if self.memo is None else {"memo": self.memo}
        return {"to_agent_id": self.to, "amount": wire_amount(self.amount), **memo}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST stats/pay`; the answer names no id, so the payment is known by our tag."""
        answer = await request.post("stats/pay", {**body, "to_agent_id": request.account_of(self.to)})
        return {**answer, "payment_id": answer.get("payment_id") or request.tag}

    def receipt(self, answer: Answer) -> PaymentReceipt:
        """Debit the amount."""
        return PaymentReceipt(
            reference=answer.get_text("payment_id"), debited=parse_money(self.amount), to=self.to, raw=answer.body
        )

    def counterparties(self) -> Sequence[str]:
        """Return the recipient."""
        return (self.to,)

    def credits(self, receipt: PaymentReceipt) -> Sequence[Credit]:
        """Return the amount, for the recipient: the casino pays at once."""
        return (Credit(receipt.to, earn(self.service, receipt.debited)),)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the ledger's rows before the call, and the recipient's credit by it in minor units."""
        rows = [row.id for row in read_ledger(outside, agent_id).rows]
        return {"rows": rows, "credits": {self.to: parse_money(self.amount).minor}}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for one new ledger row of a payment of this amount; none is conclusive only when no row is missing."""
        if intent.baseline is None:
            return Unknown(NO_BASELINE)
        page, known = read_ledger(outside, intent.agent_id), frozenset(intent.baseline["rows"])
        debit = -parse_money(self.amount).minor
        fitting = [row for row in page.rows_since(known) if row.reason == "payment_sent" and row.amount == debit]
        if len(fitting) == 1:
            return Applied(self.receipt(Answer({"payment_id": fitting[0].reference or fitting[0].id})))
        if fitting:
            return Unknown(f"{len(fitting)} new payments fit; look at the casino's ledger")
        if not page.is_complete_since(known):
            return Unknown("the casino's ledger has a gap since before the call, so its silence proves nothing")
        return self.absent_if_settled(outside, intent, "no new payment of this amount is in the ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalReceipt(Receipt):
    """A withdrawal; `status` tells how far the transfer is."""

    status: str


@dataclass(frozen=True, kw_only=True)
class Withdraw(ServiceOperation[WithdrawalReceipt]):
    """Withdraw USDC to an address on Base, at least 1; a flat 0.50 comes on top.

    `failed` and a refund are no proof that nothing was sent: a transfer that was broadcast counts as failed when its
    receipt is late. So only a row that is not failed is an answer; all else is for a person.
    """

    name = "casino.withdraw"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:withdraw"  # one withdrawal at a time for an account.
    own_path = "auth/withdraw"
    refusals = frozenset(
        {"invalid_amount", "minimum_withdrawal", "maximum_withdrawal", "invalid_address", "insufficient_balance"}
    )

    amount: Annotated[Amount, AmountRule(least="1")]
    address: Annotated[str, TextRule(r"0x[0-9a-fA-F]{40}", "an address on Base (0x and 40 hex digits)")]

    def body(self, tag: str) -> Body:
        """Return amount and address."""
        del tag
        return {"amount": wire_amount(self.amount), "address": self.address}

    def receipt(self, answer: Answer) -> WithdrawalReceipt:
        """Debit amount and fee."""
        return WithdrawalReceipt(
            reference=answer.get_text("withdrawal_id"),
            debited=self.hold(),
            fee=WITHDRAWAL_FEE,
            status=answer.get_text("status"),
            raw=answer.body,
        )

    def hold(self) -> Money:
        """Return the amount and the fee."""
        return parse_money(self.amount) + WITHDRAWAL_FEE

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the withdrawals before the call."""
        return {
            "ids": [
                row.get_text("id") for row in self.read_view(outside, agent_id, "withdrawals").get_items("withdrawals")
            ]
        }

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for one new row with our amount and address."""
        if intent.baseline is None:
            return Unknown(NO_BASELINE)
        known, minor = frozenset(intent.baseline["ids"]), parse_money(self.amount).minor
        new = [
            row
            for row in self.read_view(outside, intent.agent_id, "withdrawals").get_items("withdrawals")
            if row.get_text("id") not in known
        ]
        fitting = [row for row in new if row.get("address") == self.address and row.get_micros("amount") == minor]
        if len(fitting) != 1:
            return Unknown(f"{len(fitting)} new withdrawals fit; compare the casino's ledger and the chain")
        status = fitting[0].get_text("status")
        if status == "failed":
            return Unknown("the casino says failed and refunded, which does not prove that nothing was sent")
        return Applied(self.receipt(Answer({"withdrawal_id": fitting[0].get_text("id"), "status": status})))


@dataclass(frozen=True, kw_only=True)
class Daily(ServiceOperation[Receipt]):
    """Claim the daily bonus."""

    name = "casino.daily"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:daily"  # one claim at a time for an account.
    own_path = "daily/claim"
    refusals = frozenset({"already_claimed"})
    already = frozenset({"already_claimed"})

    def body(self, tag: str) -> Body:
        """Return nothing but the agent."""
        del tag
        return {}

    def receipt(self, answer: Answer) -> Receipt:
        """Credit the bonus."""
        reference = f"day-{answer.get_number('streak_day')}"
        return Receipt(reference=reference, credited=answer.get_money("bonus_usd"), raw=answer.body)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return when it was last claimed, and the ledger's rows."""
        state = self.read_view(outside, agent_id, "daily-state")
        rows = [row.id for row in read_ledger(outside, agent_id).rows]
        return {"last": str(state.get("last_claimed_at")), "rows": rows}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for a claim that is newer than the last one before the call, with its row in the ledger."""
        if intent.baseline is None:
            return Unknown(NO_BASELINE)
        state = self.read_view(outside, intent.agent_id, "daily-state")
        if str(state.get("last_claimed_at")) == intent.baseline["last"]:
            return self.absent_if_settled(outside, intent, "no claim is there since the one before the call")
        new = read_ledger(outside, intent.agent_id).rows_since(frozenset(intent.baseline["rows"]))
        rows = [row for row in new if row.reason == "daily_bonus"]
        if len(rows) != 1:
            text = f"the bonus counts as claimed, but the ledger shows {len(rows)} rows of it"
            settles_in_s = None if self.is_settled(outside, intent.called_at) else self.settle_window_s
            return Unknown(text, settles_in_s=settles_in_s)
        reference = f"day-{state.get_number('current_streak')}"
        return Applied(Receipt(reference=reference, credited=Money.from_minor(rows[0].amount), raw=state.body))


add_own_paths("casino", {"daily-state": "daily", "withdrawals": "auth/withdrawals"})
