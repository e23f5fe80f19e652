"""Escrow: an escrow carries our tag in its description; its transitions can happen once by their nature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, Line, earn
from agentstate.money.ledger.shared_balances import balance_service
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, nearest_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.bookings import amount_in, locked_lines, released_lines
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt
from agentstate.services.operations.service_ledger import read_ledger

LOCK = "escrow_lock: "
"""How the casino's ledger begins the reason of a lock; the escrow's id follows."""

SKEW = timedelta(seconds=2)
"""How far the service's clock may be behind ours."""


class Create(Operation):
    """Lock money for another agent.

    Params: `counterparty` (agent id), `amount` (Decimal), `description` (text, optional), `timeout_hours` (1 to 720,
    24 by default). The fee of 1 % is taken when the escrow ends, also when it goes back.
    """

    name = "escrow.create"
    guarantee = Guarantee.VERIFIABLE
    cost = "amount"
    reference = "description"
    refusals = frozenset(
        {
            "invalid_amount", "invalid_description", "invalid_timeout", "invalid_counterparty", "self_escrow",
            "counterparty_not_found", "insufficient_balance", "debit_failed",
        }
    )  # fmt: skip

    def request(self, tag: str, params: Params) -> Body:
        """The description ends with the tag in brackets."""
        text = params.optional_text("description") or "escrow"
        return {
            "counterparty_agent_id": params.agent("counterparty"),
            "amount_usd": from_micros(params.micros("amount")),
            "description": f"{text} [{tag}]",
            "timeout_hours": params.whole("timeout_hours", 1, 720, 24),
        }

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The whole amount has left the balance; the fee is still inside it."""
        locked = answer.micros("amount_usd")
        if locked != nearest_micros(body["amount_usd"]):
            raise ServiceAnswerInvalid(f"the escrow with our tag locks {locked} micro-USDC, not {body['amount_usd']}.")
        return self.made(
            answer.text("escrow_id"),
            debited=locked,
            commission=answer.micros("commission_usd"),
            counterparty=body["counterparty_agent_id"],
        )

    def found(self, case: Case) -> Verdict:
        """Look for our description among the agent's escrows."""
        state = Answer(case.gateway.read(case.agent_id, self.service))
        ours = [row for row in state.items("escrows") if self._is_ours(row, case)]
        if len({row.text("escrow_id") for row in ours}) > 1:
            return Unknown(f"{len(ours)} escrows carry our tag: the service made one call more than once")
        if ours:
            return Applied(self.receipt(ours[0], case.body))
        if state.flag("truncated") and not _reaches_back(state, case):
            return Unknown("the list of escrows is cut off and does not show the tag; look at the escrow service")
        return self._stuck(case, state) or self.missing(case, "no escrow with our tag is there")

    def _stuck(self, case: Case, state: Answer) -> Unknown | None:
        """Money that was locked for an escrow that is not there: the service died between the two."""
        amount, begun = nearest_micros(case.body["amount_usd"]), case.called_at - SKEW
        rows = [row for row in read_ledger(case.gateway, case.agent_id).rows if row.at >= begun]
        taken = {row.reason.removeprefix(LOCK) for row in rows if row.reason.startswith(LOCK) and row.amount == -amount}
        orphans = taken - {row.text("escrow_id") for row in state.items("escrows")}
        return Unknown(f"money is locked for {len(orphans)} escrows that are not there") if orphans else None

    def postings(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Line]:
        """The amount is locked, and stays the agent's."""
        del params
        return locked_lines(receipt)

    def _is_ours(self, row: Answer, case: Case) -> bool:
        ours = (case.agent_id, case.body["description"])
        return (row.get("creator_agent_id"), row.get("description")) == ours


def _reaches_back(state: Answer, case: Case) -> bool:
    """Whether a list that is cut off still has everything since the call."""
    return state.get("complete_since") is not None and state.time("complete_since") < case.called_at - SKEW


class Transition(Operation):
    """Move an escrow on. Params: `escrow_id`.

    `complete` is the counterparty's, `release` the creator's, `dispute` either side's. The service allows each once; a
    second one is refused, so that what it moved is not booked twice.
    """

    guarantee = Guarantee.NATURAL
    refusals = frozenset(
        {"invalid_status", "escrow_not_found", "not_creator", "not_counterparty", "not_participant", "forbidden"}
    )
    reference = "escrow id"
    already = frozenset({"invalid_status"})
    reached: ClassVar[frozenset[str]]

    def request(self, tag: str, params: Params) -> Body:
        """Only the escrow's id."""
        del tag
        return {"escrow_id": params.text("escrow_id")}

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the escrow stood where this leads before the call, by somebody else's doing or an earlier intent.

        Also what the call may bring to whom: `credits`, in micro-USDC by agent.
        """
        row = Answer(gateway.read(agent_id, Service.ESCROW, "get", escrow_id=str(params.get("escrow_id"))))
        return {"reached": row.text("status") in self.reached, "credits": self.brings(row)}

    def brings(self, row: Answer) -> dict[str, int]:
        """What doing it to the escrow in `row` brings to other agents, in micro-USDC."""
        del row
        return {}

    def postings(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Line]:
        """Only a release moves money."""
        del params, receipt
        return ()

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The caller's own balance does not change; `net` goes to the counterparty on release."""
        del body
        return self.made(
            answer.text("escrow_id"),
            status=answer.text("status"),
            amount=answer.micros("amount_usd"),
            commission=answer.micros("commission_usd"),
            net=answer.micros("net_to_counterparty"),
            creator=answer.text("creator_agent_id"),
            counterparty=answer.text("counterparty_agent_id"),
        )

    def found(self, case: Case) -> Verdict:
        """The status tells; repeating a transition is harmless, so there is no settle time."""
        if case.baseline is not None and case.baseline["reached"]:
            return Absent("the escrow stood there before this call, which was therefore refused")
        standing = self._standing(case.gateway, case.agent_id, case.body["escrow_id"])
        return Applied(standing) if standing else Absent("the escrow has not moved; repeating is harmless")

    def _standing(self, gateway: Gateway, agent_id: str, escrow_id: str) -> Receipt | None:
        """The receipt when the escrow stands where this transition leads, else None."""
        row = Answer(gateway.read(agent_id, Service.ESCROW, "get", escrow_id=escrow_id))
        return self.receipt(row, {}) if row.text("status") in self.reached else None


class Complete(Transition):
    """The counterparty says that its part is done."""

    name = "escrow.complete"
    reached = frozenset({"completed", "released"})


class Release(Transition):
    """The creator lets the money go."""

    name = "escrow.release"
    reached = frozenset({"released"})

    def brings(self, row: Answer) -> dict[str, int]:
        """The counterparty gets the amount less the fee."""
        return {row.text("counterparty_agent_id"): row.micros("net_to_counterparty")}

    def postings(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Line]:
        """The lock ends."""
        del params
        return released_lines(receipt)

    def credits(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Credit]:
        """The other side has the net."""
        del params
        net = amount_in(receipt, "net")
        return (Credit(str(receipt["counterparty"]), earn(balance_service(self.service), net)),) if net else ()


class Dispute(Transition):
    """Either side stops the escrow, for good."""

    name = "escrow.dispute"
    reached = frozenset({"disputed"})


create: Final = Create()
complete: Final = Complete()
release: Final = Release()
dispute: Final = Dispute()
