"""The wallet: nothing that it does can be found again through it, so a call that was cut off is for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentstate.money.verdicts import Guarantee, Unknown, Verdict
from agentstate.services.amounts import from_micros, to_micros
from agentstate.services.answer import Answer
from agentstate.services.funding import CHAINS, Deposit
from agentstate.services.operation import Case, Operation
from agentstate.services.params import Params
from agentstate.services.receipt import Receipt
from agentstate.services.wire import Body


class _Blind(Operation):
    """What the operations of the wallet share."""

    guarantee = Guarantee.BLIND
    refusals = frozenset({"unsupported_chain", "not_implemented"})

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One at a time for an account."""
        del params
        return "wallet"

    def found(self, case: Case) -> Verdict:
        """Nothing to look at."""
        del case
        return Unknown(f"{self.name} leaves no trace at the service; compare the chain's own record")


class Create(_Blind):
    """Make an address. Params: `chain`. Calling twice makes two."""

    name = "wallet.create"

    def request(self, tag: str, params: Params) -> Body:
        """Only the chain."""
        del tag
        return {"chain": params.choice("chain", CHAINS)}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The address."""
        return self.made(answer.text("address"), chain=body["chain"])


class Send(_Blind):
    """Send USDC from the agent's newest address. Params: `chain`, `to` (address), `amount` (Decimal)."""

    name = "wallet.send"

    def request(self, tag: str, params: Params) -> Body:
        """The wallet takes amounts as text."""
        del tag
        return {
            "chain": params.choice("chain", CHAINS),
            "to": params.text("to"),
            "amount": str(from_micros(params.micros("amount"))),
        }

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The amount has left the address."""
        return self.made(answer.text("tx_hash"), debited=to_micros(body["amount"]), to=body["to"])


create: Final = Create()
send: Final = Send()
deposit: Final = Deposit("wallet.deposit")
