"""The faucet: one claim an agent, found again by the agent itself; whether it had one before is noted first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from agentstate.money.verdicts import Absent, Applied, Guarantee, Verdict
from agentstate.services.answer import Answer
from agentstate.services.gateway import Gateway
from agentstate.services.operation import Baseline, Case, Operation
from agentstate.services.params import Params
from agentstate.services.receipt import Receipt
from agentstate.services.wire import Body

SKEW = timedelta(seconds=2)
"""How far the faucet's clock may be behind ours, where nothing was noted before the call."""


class Claim(Operation):
    """Claim one dollar, once in an agent's life. No params.

    VERIFIABLE although one claim an agent looks natural: the real faucet credits before it records, so that a call
    after its 500 credits again.
    """

    name = "faucet.claim"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"already_claimed", "has_deposits", "ip_rate_limited"})
    already = frozenset({"already_claimed"})

    def request(self, tag: str, params: Params) -> Body:
        """Nothing but the agent id."""
        del tag, params
        return {}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """One dollar came in."""
        del body
        return self.made(answer.text("claim_id"), credited=answer.micros("credited"))

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the agent had claimed before the call."""
        del params
        return {"claimed": not Answer(gateway.read(agent_id, self.service)).flag("can_claim")}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One claim at a time."""
        del params
        return "faucet"

    def found(self, case: Case) -> Verdict:
        """A claim that was not there before the call is ours."""
        state = Answer(case.gateway.read(case.agent_id, self.service))
        if state.flag("can_claim"):
            return self.missing(case, "the agent has no claim")
        if _was_there(state, case):
            return Absent("the agent had claimed before this call, which was therefore refused")
        return Applied(self.made(state.text("claim_id"), credited=state.micros("credited_usd")))


def _was_there(state: Answer, case: Case) -> bool:
    if case.baseline is not None:
        return bool(case.baseline["claimed"])
    return state.time("claimed_at") < case.called_at - SKEW


claim: Final = Claim()
