"""The faucet: one claim an agent, found again by the agent itself; whether it had one before is noted first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt

SKEW = timedelta(seconds=2)
"""How far the faucet's clock may be behind ours, where nothing was noted before the call."""


class Claim(Operation):
    """Claim one dollar, once in an agent's life. Params: `referral_code` (optional).

    VERIFIABLE although one claim an agent looks natural: the real faucet credits before it records, so that a call
    after its 500 credits again.
    """

    name = "faucet.claim"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"already_claimed", "has_deposits", "ip_rate_limited"})
    already = frozenset({"already_claimed"})
    reference = "agent id"

    def request(self, tag: str, params: Params) -> Body:
        """Whose referral it is, if anybody's; the agent id is the reference."""
        del tag
        return params.referral()

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """One dollar came in; a claim of nothing is an answer that cannot be believed."""
        del body
        return self.made(answer.text("claim_id"), credited=_paid(answer, "credited"))

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the agent had claimed before the call; None where the service does not tell."""
        del params
        can_claim = _can_claim(Answer(gateway.read(agent_id, self.service)))
        return {"claimed": None if can_claim is None else not can_claim}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One claim at a time."""
        del params
        return "faucet"

    def found(self, case: Case) -> Verdict:
        """A claim that was not there before the call is ours."""
        state = Answer(case.gateway.read(case.agent_id, self.service))
        can_claim = _can_claim(state)
        if can_claim is None and not (case.baseline and case.baseline["claimed"] is False):
            return Unknown("the ledger's window does not reach back far enough to tell")
        if can_claim is not False:
            return self.missing(case, "the agent has no claim")
        if _was_there(state, case):
            return Absent("the agent had claimed before this call, which was therefore refused")
        return Applied(self.made(state.text("claim_id"), credited=_paid(state, "credited_usd")))


def _can_claim(state: Answer) -> bool | None:
    """None when the window of the ledger, which is all that tells, does not reach back to the agent's first day."""
    return None if state.get("can_claim") is None and state.has("can_claim") else state.flag("can_claim")


def _paid(answer: Answer, name: str) -> int:
    paid = answer.micros(name)
    if paid <= 0:
        raise ServiceAnswerInvalid(f"the faucet shows a claim with {name} {paid}.")
    return paid


def _was_there(state: Answer, case: Case) -> bool:
    if case.baseline is not None and case.baseline["claimed"] is not None:
        return bool(case.baseline["claimed"])
    return state.time("claimed_at") < case.called_at - SKEW


claim: Final = Claim()
