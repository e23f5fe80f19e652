"""How the operations of the services are booked: from a receipt to the lines of the ledger.

Casino, escrow and faucet keep one balance, which is booked under the casino. What an escrow locks leaves that balance
and stays the agent's until it is released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agentstate.money.amounts import Money
from agentstate.money.operations import Operations
from agentstate.money.postings import Bucket, Credit, Line, earned, move, spent
from agentstate.money.shared_balances import root_of
from agentstate.money.verdicts import Guarantee, Verdict
from agentstate.services.gateway import Gateway
from agentstate.services.names import Service
from agentstate.services.operation import Baseline, Operation
from agentstate.services.operations import OPERATIONS
from agentstate.services.receipt import Receipt
from agentstate.services.wire import Body

_LOCKED = (Service.ESCROW.value, Bucket.ESCROW_LOCKED.value)
_COST_PARAMS: Final = {"casino.bet": "amount", "escrow.create": "amount", "wallet.send": "amount"}
"""The parameter that is the most an operation can cost; the others' price is known only afterwards."""


class BookedOperation:
    """An operation of a service together with its bookkeeping; what effects and their workers use."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    @property
    def name(self) -> str:
        """`service.operation`."""
        return self._operation.name

    @property
    def service(self) -> str:
        """Where it is done."""
        return self._operation.service.value

    @property
    def guarantee(self) -> Guarantee:
        """How a call that was cut off is settled."""
        return self._operation.guarantee

    def check(self, tag: str, **params: Any) -> Body:
        """As `Operation.check`."""
        return self._operation.check(tag, **params)

    def call(self, gateway: Gateway, agent_id: str, tag: str, **params: Any) -> Receipt:
        """As `Operation.call`."""
        return self._operation.call(gateway, agent_id, tag, **params)

    def verify(
        self,
        gateway: Gateway,
        agent_id: str,
        tag: str,
        params: Mapping[str, Any],
        called_at: datetime,
        *,
        baseline: Baseline | None = None,
    ) -> Verdict:
        """As `Operation.verify`."""
        return self._operation.verify(gateway, agent_id, tag, params, called_at, baseline=baseline)

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline | None:
        """As `Operation.baseline`."""
        return self._operation.baseline(gateway, agent_id, params)

    def serial_key(self, params: Mapping[str, Any]) -> str | None:
        """As `Operation.serial_key`."""
        return self._operation.serial_key(params)

    def hold(self, params: Mapping[str, Any]) -> Money | None:
        """The most that it may cost, where the parameters tell."""
        cost = _COST_PARAMS.get(self.name)
        return None if cost is None else Money.parse(params[cost])

    def postings(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Line]:
        """What the receipt moved for the agent."""
        del params
        return _LINES.get(self.name, balance_lines)(receipt)

    def credits(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Credit]:
        """What the receipt moved for another agent: the counterparty of a released escrow."""
        del params
        net = _amount(receipt, "net")
        if self.name != "escrow.release" or not net:
            return ()
        return (Credit(str(receipt["counterparty"]), earned(root_of(self.service), net)),)


def booked_operations() -> Operations:
    """All operations of the services with their bookkeeping."""
    return Operations(BookedOperation(operation) for operation in OPERATIONS.values())


def balance_lines(receipt: Receipt) -> list[Line]:
    """What left the balance and came onto it; the fee among it goes to fees."""
    service = root_of(str(receipt["operation"]).partition(".")[0])
    debited, credited, fee = (_amount(receipt, name) for name in ("debited", "credited", "fee"))
    paid = spent(service, debited - fee) if debited != fee else []
    fees = move(fee, (service, Bucket.AVAILABLE), (service, Bucket.FEES)) if fee else []
    return [*paid, *fees, *(earned(service, credited) if credited else [])]


def _locked(receipt: Receipt) -> list[Line]:
    return move(_amount(receipt, "debited"), (root_of(_LOCKED[0]), Bucket.AVAILABLE), _LOCKED)


def _released(receipt: Receipt) -> list[Line]:
    net, commission = _amount(receipt, "net"), _amount(receipt, "commission")
    fees = move(commission, _LOCKED, (_LOCKED[0], Bucket.FEES)) if commission else []
    return [*move(net, _LOCKED, (_LOCKED[0], Bucket.EXTERNAL)), *fees]


def _amount(receipt: Receipt, name: str) -> Money:
    return Money(int(receipt.get(name) or 0))


_LINES: Final[Mapping[str, Callable[[Receipt], list[Line]]]] = {"escrow.create": _locked, "escrow.release": _released}
