"""How receipts are booked: from what an operation moved to the lines of the ledger.

Casino, escrow and faucet keep one balance, which is booked under the casino. What an escrow locks leaves that balance
and stays the agent's until it is released.
"""

from __future__ import annotations

from agentstate.money.amounts import Money
from agentstate.money.ledger.postings import Bucket, Line, earn, move, spend
from agentstate.money.ledger.shared_balances import balance_service
from agentstate.services.operations.receipt import Receipt

LOCKED = ("escrow", Bucket.ESCROW_LOCKED.value)


def balance_lines(receipt: Receipt) -> list[Line]:
    """What left the balance and came onto it; the fee among it goes to fees."""
    service = balance_service(str(receipt["operation"]).partition(".")[0])
    debited, credited, fee = (amount_in(receipt, name) for name in ("debited", "credited", "fee"))
    paid = spend(service, debited - fee) if debited != fee else []
    fees = move(fee, (service, Bucket.AVAILABLE), (service, Bucket.FEES)) if fee else []
    return [*paid, *fees, *(earn(service, credited) if credited else [])]


def locked_lines(receipt: Receipt) -> list[Line]:
    """What an escrow locked."""
    return move(amount_in(receipt, "debited"), (balance_service(LOCKED[0]), Bucket.AVAILABLE), LOCKED)


def released_lines(receipt: Receipt) -> list[Line]:
    """What an escrow let go: the net to the other side, the rest to fees."""
    net, commission = amount_in(receipt, "net"), amount_in(receipt, "commission")
    fees = move(commission, LOCKED, (LOCKED[0], Bucket.FEES)) if commission else []
    return [*move(net, LOCKED, (LOCKED[0], Bucket.EXTERNAL)), *fees]


def amount_in(receipt: Receipt, name: str) -> Money:
    """An amount of a receipt, nothing when it has none."""
    return Money.from_minor(int(receipt.get(name) or 0))
