"""The faucet: one claim an agent, found again by the agent itself; whether it had one before is noted first.

At its own routes it shows no state: the shared ledger alone tells whether an agent has claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.amounts import Money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.accounts import referral_part
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.fields import Text
from agentstate.services.operations.receipts import NOTHING, Receipt
from agentstate.services.operations.service_ledger import read_own_ledger_page
from agentstate.services.wire import Answer, Body, micros_to_dollars

SKEW: Final = timedelta(seconds=2)
"""How far the faucet's clock may be behind ours, where nothing was noted before the call."""


@dataclass(frozen=True, kw_only=True)
class Claim(ServiceOperation[Receipt]):
    """Claim one dollar, once in an agent's life.

    VERIFIABLE although one claim an agent looks natural: the real faucet credits before it records, so that a call
    after its 500 credits again.
    """

    name = "faucet.claim"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"already_claimed", "has_deposits", "ip_rate_limited"})
    already = frozenset({"already_claimed"})
    reference = "agent id"
    serial = "faucet"  # one claim at a time.

    referral_code: Text | None = None

    def build_body(self, tag: str) -> Body:
        """Return the referral code, where there is one; the agent id is the reference."""
        del tag
        return referral_part(self.referral_code)

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST faucet/claim`; takes no key."""
        return await request.send_operation("faucet/claim", {**body, "agent_casino_id": request.account}, keyless=True)

    def read_receipt(self, answer: Answer) -> Receipt:
        """Credit the dollar; a claim of nothing is an answer that cannot be believed."""
        credited = _get_credit(answer, "credited")
        return Receipt(reference=answer.get_text("claim_id"), credited=credited, raw=answer.body)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return whether the agent had claimed before the call; None where the service does not tell."""
        can_claim = _get_can_claim(self.read_view(outside, agent_id))
        return {"claimed": None if can_claim is None else not can_claim}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """A claim that was not there before the call is ours."""
        state = self.read_view(outside, intent.agent_id)
        can_claim = _get_can_claim(state)
        claimed_before = intent.baseline["claimed"] if intent.baseline else None
        if can_claim is None and claimed_before is not False:
            reason = "the ledger's window does not reach back far enough to tell"
            return self.unknown_for_good(outside, intent, reason)
        if can_claim is not False:
            return self.absent_if_settled(outside, intent, "the agent has no claim")
        if claimed_before is None:
            claimed_before = state.get_time("claimed_at") < intent.called_at - SKEW
        if claimed_before:
            return Absent("the agent had claimed before this call, which was therefore refused")
        credited = _get_credit(state, "credited_usd")
        return Applied(Receipt(reference=state.get_text("claim_id"), credited=credited, raw=state.body))


def _get_can_claim(state: Answer) -> bool | None:
    """None when the window of the ledger, which is all that tells, does not reach back to the agent's first day."""
    is_null = state.get("can_claim") is None and state.has_member("can_claim")
    return None if is_null else state.get_flag("can_claim")


def _get_credit(answer: Answer, name: str) -> Money:
    credit = answer.get_money(name)
    if credit <= NOTHING:
        raise ServiceAnswerInvalid(f"the faucet shows a claim with {name} {credit}.")
    return credit


@own_view("faucet", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """From the ledger's row of the claim; `can_claim` is null when the window does not reach back far enough."""
    page = await read_own_ledger_page(request)
    claim = next((row for row in page.rows if row.service == "faucet"), None)
    if claim is None:
        can_claim = True if page.is_complete else None
        return {
            "agent_id": request.agent_id,
            "can_claim": can_claim,
            "claim_id": None,
            "claimed_at": None,
            "credited_usd": 0,
        }
    return {
        "agent_id": request.agent_id,
        "can_claim": False,
        "claim_id": claim.reference,
        "claimed_at": claim.at.isoformat(),
        "credited_usd": micros_to_dollars(claim.amount),
    }


add_own_paths("faucet", {"stats": "faucet/stats"})

claim = Claim
