"""Money that moves at the casino without a game: payments to other agents, withdrawals to a chain, the daily bonus.

None of them keeps a reference of ours. One of a kind is in flight for an account, and what its ledger or its list of
withdrawals has beyond what it had before tells which it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.money.effects.verdicts import Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, earn
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, nearest_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.bookings import amount_in
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt
from agentstate.services.operations.service_ledger import LedgerPage, read_ledger

WITHDRAWAL_FEE = 500_000
"""Micro-USDC that every withdrawal costs."""

LEAST_WITHDRAWAL = 1_000_000

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


class Pay(Operation):
    """Pay another agent at once. Params: `to` (agent id), `amount` (Decimal), `memo` (optional; not stored there)."""

    name = "casino.pay"
    guarantee = Guarantee.VERIFIABLE
    cost = "amount"
    refusals = frozenset(
        {"invalid_amount", "invalid_recipient", "recipient_not_found", "self_payment", "insufficient_balance"}
    )

    def request(self, tag: str, params: Params) -> Body:
        """The memo is echoed and forgotten, so it can carry no tag."""
        del tag
        body: Body = {"to_agent_id": params.agent("to"), "amount": from_micros(params.micros("amount"))}
        memo = params.optional_text("memo")
        return body if memo is None else {**body, "memo": memo}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The amount has left the balance."""
        return self.made(answer.text("payment_id"), debited=nearest_micros(body["amount"]), to=body["to_agent_id"])

    def credits(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Credit]:
        """The other agent has it at once."""
        del params
        return (Credit(str(receipt["to"]), earn(Service.CASINO.value, amount_in(receipt, "debited"))),)

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """The ledger's rows before the call, and what it may bring to whom."""
        brings = {str(params.get("to")): Money(params["amount"]).minor}
        return {"rows": [row.id for row in read_ledger(gateway, agent_id).rows], "credits": brings}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One payment at a time for an account."""
        del params
        return "casino:pay"

    def found(self, case: Case) -> Verdict:
        """One new row of a payment with our amount is ours; none is conclusive only when no row is missing."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call, so a payment of before cannot be told from this one")
        page, known = read_ledger(case.gateway, case.agent_id), frozenset(case.baseline["rows"])
        amount = nearest_micros(case.body["amount"])
        ours = [row for row in page.since(known) if row.reason == "payment_sent" and row.amount == -amount]
        if len(ours) == 1:
            return Applied(self.receipt(Answer({"payment_id": ours[0].reference or ours[0].id}), case.body))
        return self._without_row(case, page, known, len(ours))

    def _without_row(self, case: Case, page: LedgerPage, known: frozenset[str], fitting: int) -> Verdict:
        if fitting:
            return Unknown(f"{fitting} new payments fit; look at the casino's ledger")
        if not page.complete(known):
            return Unknown("the casino's ledger has a gap since before the call, so its silence proves nothing")
        return self.missing(case, "no new payment of this amount is in the ledger")


class Withdraw(Operation):
    """Withdraw USDC to an address on Base. Params: `amount` (Decimal, at least 1), `address` (0x and 40 digits).

    A flat 0.50 comes on top. `failed` and a refund are no proof that nothing was sent: a transfer that was broadcast
    counts as failed when its receipt is late. So only a row that is not failed is an answer; all else is for a person.
    """

    name = "casino.withdraw"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset(
        {"invalid_amount", "minimum_withdrawal", "maximum_withdrawal", "invalid_address", "insufficient_balance"}
    )

    def request(self, tag: str, params: Params) -> Body:
        """Amount and address."""
        del tag
        address = params.text("address")
        if not _ADDRESS.match(address):
            raise InvalidInput(f"casino.withdraw: {address[:60]!r} is no address on Base. Nothing was sent.")
        return {"amount": from_micros(params.micros("amount", least=LEAST_WITHDRAWAL)), "address": address}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """Amount and fee have left the balance; the status tells how far the transfer is."""
        debited = nearest_micros(body["amount"]) + WITHDRAWAL_FEE
        status = answer.text("status")
        return self.made(answer.text("withdrawal_id"), debited=debited, fee=WITHDRAWAL_FEE, status=status)

    def hold(self, params: Mapping[str, Any]) -> Money:
        """The fee comes on top of the amount."""
        return Money(params["amount"]) + Money.from_minor(WITHDRAWAL_FEE)

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """The withdrawals before the call."""
        del params
        return {"ids": [row.text("id") for row in _withdrawals(gateway, agent_id)]}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One withdrawal at a time for an account."""
        del params
        return "casino:withdraw"

    def found(self, case: Case) -> Verdict:
        """One new row with our amount and address."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call")
        known = frozenset(case.baseline["ids"])
        fresh = [row for row in _withdrawals(case.gateway, case.agent_id) if row.text("id") not in known]
        ours = [row for row in fresh if self._fits(row, case)]
        if len(ours) != 1:
            return Unknown(f"{len(ours)} new withdrawals fit; compare the casino's ledger and the chain")
        status = ours[0].text("status")
        if status == "failed":
            return Unknown("the casino says failed and refunded, which does not prove that nothing was sent")
        return Applied(self.receipt(Answer({"withdrawal_id": ours[0].text("id"), "status": status}), case.body))

    def _fits(self, row: Answer, case: Case) -> bool:
        same = row.get("address") == case.body["address"]
        return same and row.micros("amount") == nearest_micros(case.body["amount"])


class Daily(Operation):
    """Claim the daily bonus. No params."""

    name = "casino.daily"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"already_claimed"})
    already = frozenset({"already_claimed"})

    def request(self, tag: str, params: Params) -> Body:
        """Nothing but the agent."""
        del tag, params
        return {}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The bonus came in."""
        del body
        bonus = answer.micros("bonus_usd")
        return self.made(f"day-{answer.number('streak_day')}", credited=bonus)

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """When it was last claimed, and the ledger's rows."""
        del params
        state = Answer(gateway.read(agent_id, Service.CASINO, "daily-state"))
        rows = [row.id for row in read_ledger(gateway, agent_id).rows]
        return {"last": str(state.get("last_claimed_at")), "rows": rows}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One at a time for an account."""
        del params
        return "casino:daily"

    def found(self, case: Case) -> Verdict:
        """A claim that is newer than the last one of before, with its row in the ledger."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call")
        state = Answer(case.gateway.read(case.agent_id, Service.CASINO, "daily-state"))
        if str(state.get("last_claimed_at")) == case.baseline["last"]:
            return self.missing(case, "no claim is there since the one of before")
        page = read_ledger(case.gateway, case.agent_id)
        rows = [row for row in page.since(frozenset(case.baseline["rows"])) if row.reason == "daily_bonus"]
        if len(rows) != 1:
            text = f"the bonus counts as claimed, but the ledger shows {len(rows)} rows of it"
            return Unknown(text, settles_in_s=None if self._settled(case) else self.settle_s)
        return Applied(self.made(f"day-{state.number('current_streak')}", credited=rows[0].amount))

    def _settled(self, case: Case) -> bool:
        return (case.gateway.now() - case.called_at).total_seconds() >= self.settle_s * case.gateway.settle_scale


def _withdrawals(gateway: Gateway, agent_id: str) -> list[Answer]:
    return Answer(gateway.read(agent_id, Service.CASINO, "withdrawals")).items("withdrawals")


pay: Final = Pay()
withdraw: Final = Withdraw()
daily: Final = Daily()
