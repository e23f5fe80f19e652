"""Joining a service: an account there, with an id and a key of its own, kept where the services file refers to.

Casino, escrow and faucet share one registration; trading, wallet and domains have one each. The unified gateway needs
none of it: one key stands for all.
"""

from __future__ import annotations

from typing import Final

from agentstate.money.effects.verdicts import Guarantee, Unknown, Verdict
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Case, Operation
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt


class Join(Operation):
    """Register the agent at a service's own routes. Params: `referral_code` (optional). Twice makes two accounts.

    Args:
        service: where.
    """

    guarantee = Guarantee.BLIND

    def __init__(self, service: str) -> None:
        self.name = f"{service}.join"  # type: ignore[misc]  # one class serves four names

    def request(self, tag: str, params: Params) -> Body:
        """Whose referral it is, if anybody's."""
        del tag
        return params.referral()

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """That it is done; the key is in no receipt."""
        del body
        return self.made(answer.text("agent_id"))

    def found(self, case: Case) -> Verdict:
        """Nothing tells whether an account was made whose key never arrived."""
        del case
        return Unknown(f"{self.name} may have made an account whose key was lost; make another")


all_of_them: Final = tuple(Join(service) for service in ("casino", "trading", "wallet", "domains"))
