"""Receipts: what an operation did, and what that means for the books.

A receipt is fit for JSON and always has `operation`, `reference` (the service's id), and in micro-USDC `debited` (left
the agent's balance at the service), `credited` (came onto it) and `fee` (contained in the two).
"""

from __future__ import annotations

from typing import TypeAlias

from agentstate.money.amounts import DEFAULT_CURRENCY, Money
from agentstate.money.postings import Bucket, Line, earned, move, spent
from agentstate.money.shared_balances import root_of

Receipt: TypeAlias = dict[str, str | int | bool | None]


def micros(receipt: Receipt, name: str) -> int:
    """The amount called `name` in micro-USDC; 0 when the receipt has none."""
    return int(receipt.get(name) or 0)


def usdc(minor: int) -> Money:
    """Micro-USDC as money."""
    return Money(minor, DEFAULT_CURRENCY)


def moved(service: str, receipt: Receipt) -> list[Line]:
    """The lines of a receipt on the balance that `service` draws on: fees apart, the rest from and to outside."""
    account = root_of(service)
    fee = min(micros(receipt, "fee"), micros(receipt, "debited"))
    paid, got = micros(receipt, "debited") - fee, micros(receipt, "credited")
    lines = spent(account, usdc(paid)) if paid else []
    lines += move(usdc(fee), (account, Bucket.AVAILABLE), (account, Bucket.FEES)) if fee else []
    return lines + (earned(account, usdc(got)) if got else [])


def locked(service: str, receipt: Receipt) -> list[Line]:
    """Money that an escrow has locked: still owned, no longer free."""
    account = root_of(service)
    return move(usdc(micros(receipt, "debited")), (account, Bucket.AVAILABLE), (account, Bucket.ESCROW_LOCKED))


def released(service: str, receipt: Receipt) -> list[Line]:
    """Locked money that went to the counterparty, less the commission."""
    account, commission = root_of(service), micros(receipt, "commission")
    net = micros(receipt, "amount") - commission
    lines = move(usdc(net), (account, Bucket.ESCROW_LOCKED), (account, Bucket.EXTERNAL)) if net else []
    fee = move(usdc(commission), (account, Bucket.ESCROW_LOCKED), (account, Bucket.FEES)) if commission else []
    return lines + fee
