"""The wallet: what it sends cannot be found again through it, so a call that was cut off is for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentstate.money.effects.verdicts import Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, to_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.funding import CHAINS, Deposit
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt


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
    cost = "amount"

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


class Swap(Operation):
    """Order a swap of USDC between chains. Params: `from_chain`, `to_chain`, `to_address`, `amount` (Decimal).

    Nothing moves before somebody pays in at the address of the receipt, so a second order costs nothing.
    """

    name = "wallet.swap"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"unsupported_chain", "not_implemented", "same_chain"})

    def request(self, tag: str, params: Params) -> Body:
        """The wallet takes amounts as text."""
        del tag
        return {
            "from_chain": params.choice("from_chain", CHAINS),
            "to_chain": params.choice("to_chain", CHAINS),
            "from_token": "USDC",
            "to_token": "USDC",
            "amount": str(from_micros(params.micros("amount"))),
            "to_address": params.text("to_address"),
        }

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """Where to pay in; nothing has moved yet."""
        del body
        return self.made(
            answer.text("swap_id"), order_id=answer.text("order_id"), deposit_address=answer.text("deposit_address")
        )

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """The orders before the call."""
        del params
        return {"ids": [row.text("swap_id") for row in _swaps(gateway, agent_id)]}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One at a time for an account."""
        del params
        return "wallet:swap"

    def found(self, case: Case) -> Verdict:
        """A new order with the same parameters is ours."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call")
        fresh = [row for row in _swaps(case.gateway, case.agent_id) if row.text("swap_id") not in case.baseline["ids"]]
        ours = [row for row in fresh if all(row.get(name) == case.body[name] for name in _SWAP_MARKS)]
        return Applied(self.receipt(ours[0], case.body)) if ours else self.missing(case, "no new order is there")


_SWAP_MARKS = ("from_chain", "to_chain", "amount", "to_address")


def _swaps(gateway: Gateway, agent_id: str) -> list[Answer]:
    return Answer(gateway.read(agent_id, Service.WALLET, "activity")).items("swaps")


create: Final = Create()
send: Final = Send()
swap: Final = Swap()
deposit: Final = Deposit("wallet.deposit")
