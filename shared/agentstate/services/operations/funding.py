"""Test money: a deposit at the sandbox, keyed by our tag. Real accounts are funded on a chain, not through us."""

from __future__ import annotations

from agentstate.money.effects.verdicts import Absent, Guarantee, Verdict
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, to_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Case, Operation
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt

CHAINS = ("base", "ethereum", "solana")


class Deposit(Operation):
    """Put test money on an account. Params: `amount` (Decimal); for the wallet also `chain`.

    Args:
        name: `casino.deposit`, `trading.deposit`, `domains.deposit` or `wallet.deposit`.
    """

    guarantee = Guarantee.KEYED
    refusals = frozenset({"invalid_amount", "unsupported_chain"})

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]  # one class serves four names

    def request(self, tag: str, params: Params) -> Body:
        """The tag is the reference, which the sandbox honours as a key. The wallet takes amounts as text."""
        amount = from_micros(params.micros("amount"))
        if self.name != "wallet.deposit":
            return {"amount": amount, "reference": tag}
        return {"amount": str(amount), "reference": tag, "chain": params.choice("chain", CHAINS)}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """What came in."""
        return self.made(answer.text("reference"), credited=to_micros(str(body["amount"])))

    def found(self, case: Case) -> Verdict:
        """A second deposit with the same tag changes nothing, so it may always be repeated."""
        del case
        return Absent("the tag is a key here; repeating does nothing")
