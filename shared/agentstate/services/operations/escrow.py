"""Escrow: an escrow carries our tag in its description; its transitions can happen once by their nature.

At its own routes it has no list: an agent's escrows are known by our books and its ledger's locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final

from agentstate.errors import ServiceAnswerInvalid, ServiceRejected
from agentstate.money.amounts import Money, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Bucket, Credit, Line, balance_service, earn, move
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.fields import AgentId, Dollars, Range, Text
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import Receipt
from agentstate.services.operations.service_ledger import read_ledger, read_own_ledger_page
from agentstate.services.wire import Answer, Body, wire_amount

LOCK: Final = "escrow_lock: "
"""The beginning of the reason of a lock in the casino's ledger; the escrow's id follows."""

FAILED: Final = "escrow_create_failed_refund: "
"""The beginning of the reason of a lock that was given back, since the escrow could not be stored."""

SKEW: Final = timedelta(seconds=2)
"""How far the service's clock may be behind ours."""

LOCKED: Final = ("escrow", Bucket.ESCROW_LOCKED.value)
_FINAL_STATUSES = frozenset({"released", "refunded"})
_LOCKING_STATUSES = frozenset({"funded", "completed", "disputed"})
_MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowReceipt(Receipt):
    """An escrow that was made: `debited` is locked, and `commission` is still inside it."""

    commission: Money
    counterparty: str


@dataclass(frozen=True, kw_only=True)
class Create(ServiceOperation[EscrowReceipt]):
    """Lock money for another agent; the fee of 1 % is taken when the escrow ends, also when it goes back."""

    name = "escrow.create"
    guarantee = Guarantee.VERIFIABLE
    reference = "description"
    cost = "amount"
    refusals = frozenset(
        {
            "invalid_amount", "invalid_description", "invalid_timeout", "invalid_counterparty", "self_escrow",
            "counterparty_not_found", "insufficient_balance", "debit_failed",
        }
    )  # fmt: skip

    counterparty: AgentId
    amount: Dollars
    description: Text | None = None
    timeout_hours: Annotated[int, Range(1, 720)] = 24

    def build_body(self, tag: str) -> Body:
        """Return the escrow; its description ends with the tag in brackets."""
        return {
            "counterparty_agent_id": self.counterparty,
            "amount_usd": wire_amount(self.amount),
            "description": f"{(self.description or 'escrow').strip()} [{tag}]",
            "timeout_hours": self.timeout_hours,
        }

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST escrow/create`."""
        counterparty = await request.find_account(self.counterparty)
        answer = await request.send_operation("escrow/create", {**body, "counterparty_agent_id": counterparty})
        return await _rename_participants(request, answer)

    def read_receipt(self, answer: Answer) -> EscrowReceipt:
        """Debit the whole amount, which is locked."""
        locked = answer.get_money("amount_usd")
        if locked != parse_money(self.amount):
            raise ServiceAnswerInvalid(f"the escrow with our tag locks {locked}, not {self.amount}.")
        return EscrowReceipt(
            reference=answer.get_text("escrow_id"),
            debited=locked,
            commission=answer.get_money("commission_usd"),
            counterparty=self.counterparty,
            raw=answer.body,
        )

    def find_counterparties(self) -> Sequence[str]:
        """Return the counterparty."""
        return (self.counterparty,)

    def postings(self, receipt: EscrowReceipt) -> Sequence[Line]:
        """Return the lock: the amount stays the agent's."""
        return move(receipt.debited, (balance_service("escrow"), Bucket.AVAILABLE), LOCKED)

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for our description among the agent's escrows."""
        state = self.read_view(outside, intent.agent_id)
        own = (intent.agent_id, self.build_body(intent.remote_key)["description"])
        rows = state.get_items("escrows")
        tagged = [row for row in rows if (row.get("creator_agent_id"), row.get("description")) == own]
        if len({row.get_text("escrow_id") for row in tagged}) > 1:
            reason = f"{len(tagged)} escrows carry our tag: the service made one call more than once"
            return Unknown(reason, is_final=True)
        if tagged:
            return Applied(self.read_receipt(tagged[0]))
        begun = intent.called_at - SKEW
        if state.get_flag("truncated") and (
            state.get("complete_since") is None or state.get_time("complete_since") >= begun
        ):
            return self.unknown_for_good(outside, intent, "the list of escrows is cut off and does not show the tag")
        # Money that was locked for an escrow that is not there: the service died between the two.
        ledger, debit = read_ledger(outside, intent.agent_id).rows, -parse_money(self.amount).minor
        locks = [row for row in ledger if row.at >= begun and row.reason.startswith(LOCK) and row.amount == debit]
        given_back = {row.reason.removeprefix(FAILED) for row in ledger if row.reason.startswith(FAILED)}
        shown = {row.get_text("escrow_id") for row in rows}
        orphans = {row.reason.removeprefix(LOCK) for row in locks} - shown - given_back
        if orphans:
            reason = f"money is locked for {len(orphans)} escrows that are not there"
            return self.unknown_for_good(outside, intent, reason)
        return self.absent_if_settled(outside, intent, "no escrow with our tag is there")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionReceipt(Receipt):
    """An escrow that was moved on; `net` goes to the counterparty on release."""

    status: str
    amount: Money
    commission: Money
    net: Money
    creator: str
    counterparty: str


@dataclass(frozen=True, kw_only=True)
class Transition(ServiceOperation[TransitionReceipt]):
    """Move an escrow on.

    The service allows each transition once; a second one is refused, so that what it moved is not booked twice.
    """

    guarantee = Guarantee.NATURAL
    refusals = frozenset({"invalid_status", "forbidden"})
    reference = "escrow id"
    already = frozenset({"invalid_status"})
    reached: ClassVar[frozenset[str]]

    escrow_id: Text

    def build_body(self, tag: str) -> Body:
        """Return the escrow's id."""
        del tag
        return {"escrow_id": self.escrow_id}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST escrow/{verb}/{id}`; its answer tells only a part, so the whole escrow is read afterwards."""
        await request.send_operation(f"escrow/{self.route_name()}/{self.escrow_id}", {})
        return await read_own_escrow(request, {"escrow_id": self.escrow_id})

    def read_receipt(self, answer: Answer) -> TransitionReceipt:
        """Read the escrow; the caller's own balance does not change."""
        return TransitionReceipt(
            reference=answer.get_text("escrow_id"),
            status=answer.get_text("status"),
            amount=answer.get_money("amount_usd"),
            commission=answer.get_money("commission_usd"),
            net=answer.get_money("net_to_counterparty"),
            creator=answer.get_text("creator_agent_id"),
            counterparty=answer.get_text("counterparty_agent_id"),
            raw=answer.body,
        )

    def credits_of(self, row: Answer) -> Mapping[str, int]:
        """Return the credits of other agents by a transition of the escrow in `row`, in minor units."""
        del row
        return {}

    def postings(self, receipt: TransitionReceipt) -> Sequence[Line]:
        """Return nothing: only a release moves money."""
        del receipt
        return ()

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return whether the escrow had this status before the call, and the credits that the call may bring."""
        row = self.read_view(outside, agent_id, "get", escrow_id=self.escrow_id)
        return {"reached": row.get_text("status") in self.reached, "credits": self.credits_of(row)}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look at the status; repeating a transition is harmless, so there is no settle window."""
        if intent.baseline is not None and intent.baseline["reached"]:
            return Absent("the escrow stood there before this call, which was therefore refused")
        row = self.read_view(outside, intent.agent_id, "get", escrow_id=self.escrow_id)
        if row.get_text("status") in self.reached:
            return Applied(self.read_receipt(row))
        return Absent("the escrow has not moved; repeating is harmless")


class Complete(Transition):
    """Say, as the counterparty, that its part is done."""

    name = "escrow.complete"
    reached = frozenset({"completed", "released"})


class Release(Transition):
    """Let the money go to the counterparty, as the creator."""

    name = "escrow.release"
    reached = frozenset({"released"})

    def credits_of(self, row: Answer) -> Mapping[str, int]:
        """Return the amount less the fee, for the counterparty."""
        return {row.get_text("counterparty_agent_id"): row.get_micros("net_to_counterparty")}

    def postings(self, receipt: TransitionReceipt) -> Sequence[Line]:
        """Return the end of the lock: the net to the other side, the commission to fees."""
        fees = move(receipt.commission, LOCKED, (LOCKED[0], Bucket.FEES)) if receipt.commission else []
        return [*move(receipt.net, LOCKED, (LOCKED[0], Bucket.EXTERNAL)), *fees]

    def credits(self, receipt: TransitionReceipt) -> Sequence[Credit]:
        """Return the net for the counterparty."""
        return (Credit(receipt.counterparty, earn(balance_service("escrow"), receipt.net)),) if receipt.net else ()


class Dispute(Transition):
    """Stop the escrow for good, as either side."""

    name = "escrow.dispute"
    reached = frozenset({"disputed"})


@own_view("escrow", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """Read the escrows that an agent made, side by side, and add up their locks.

    `complete_since` is the moment from which on none can be missing; None when any may be.
    """
    page = await read_own_ledger_page(request)
    known = await asyncio.to_thread(request.accounts.find_escrows, request.agent_id)
    locks = (row.reason.removeprefix(LOCK) for row in page.rows if row.reason.startswith(LOCK))
    found = await asyncio.gather(*(_find_own_escrow(request, each) for each in sorted({*known, *locks})))
    rows = [row for row in found if row is not None]
    locking = [
        row for row in rows if row["creator_agent_id"] == request.agent_id and row["status"] in _LOCKING_STATUSES
    ]
    since = page.complete_from
    return {
        "agent_id": request.agent_id,
        "locked_usd": sum(Answer(row).get_number("amount_usd") for row in locking),
        "escrows": rows,
        "truncated": not page.is_complete,
        "complete_since": None if since is None else since.isoformat(),
    }


@own_view("escrow", "get")
async def read_own_escrow(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET escrow/{id}`."""
    return await _rename_participants(request, await request.read_json(f"escrow/{query['escrow_id']}"))


async def _find_own_escrow(request: OwnRequest, escrow_id: str) -> Body | None:
    """None for an escrow that is not there although money was locked for it: the service died between the two."""
    ended = request.ended_escrows
    if escrow_id in ended:
        return ended[escrow_id]
    try:
        row = await read_own_escrow(request, {"escrow_id": escrow_id})
    except ServiceRejected as error:
        if error.code != "not_found":
            raise
        return None
    if row["status"] in _FINAL_STATUSES:
        if len(ended) >= _MOST_KEPT:
            ended.clear()
        ended[escrow_id] = row
    return row


async def _rename_participants(request: OwnRequest, body: Body) -> Body:
    answer, casino = Answer(body), request.at_service(Service.CASINO)
    return {
        **body,
        "escrow_id": answer.get_text("escrow_id"),
        "status": answer.get_text("status"),
        "creator_agent_id": await casino.find_agent(answer.get_text("creator_id")),
        "counterparty_agent_id": await casino.find_agent(answer.get_text("counterparty_id")),
    }


add_own_paths("escrow", {"stats": "escrow/stats"})

create = Create
complete = Complete
release = Release
dispute = Dispute
