"""Receipts of operations, and their ledger lines.

Casino, escrow and faucet keep one balance, which is booked under the casino. What an escrow locks leaves that balance
and stays the agent's until it is released.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar, get_type_hints

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money, parse_decimal, parse_money
from agentstate.money.ledger.postings import Bucket, Line, balance_service, earn, move, spend

NOTHING: Final = Money.zero()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of an operation.

    Attributes:
        reference: the service's id of the bet, payment, position, ...
        debited: what left the agent's balance at the service, the fee included.
        credited: what came onto it.
        fee: the part of `debited` that is a fee.
        raw: the service's answer, or the row by which the effect was found again; numbers are Decimal.
    """

    reference: str
    debited: Money = NOTHING
    credited: Money = NOTHING
    fee: Money = NOTHING
    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)


R = TypeVar("R", bound=Receipt)

_kinds_by_class: dict[type[Any], Mapping[str, Any]] = {}


def balance_lines(service: str, receipt: Receipt) -> Sequence[Line]:
    """Return the lines for money that left the balance (its fee to fees) and came onto it."""
    root = balance_service(service)
    paid = receipt.debited - receipt.fee
    fees = move(receipt.fee, (root, Bucket.AVAILABLE), (root, Bucket.FEES)) if receipt.fee else []
    return [
        *(spend(root, paid) if paid else []),
        *fees,
        *(earn(root, receipt.credited) if receipt.credited else []),
    ]


def pack_receipt(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as a dict of plain values and Money, to be stored with the effect."""
    return {field.name: getattr(receipt, field.name) for field in dataclasses.fields(receipt)}


def unpack_receipt(cls: type[R], stored: Any) -> R:
    """Return the receipt that `stored` describes.

    A receipt that a person wrote may have amounts as decimal text, and lack facts that the person does not know: what
    moved is then 0, and a fact of this class alone is None.

    Raises:
        InvalidInput: `stored` is no object, has no `reference`, or has a field that is unknown or of another kind.
    """
    if not isinstance(stored, Mapping):
        raise InvalidInput(f"a receipt is an object with `reference`, `debited` and `credited`, not {stored!r:.60}.")
    kinds = _kinds_of(cls)
    unknown = sorted(set(stored) - set(kinds))
    if unknown:
        raise InvalidInput(f"a {cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(kinds)}.")
    values = {name: _unpack_value(cls, name, kinds[name], value) for name, value in stored.items()}
    if "reference" not in values:
        raise InvalidInput(f"a {cls.__name__} needs `reference`, the service's id of what was done.")
    facts = dict.fromkeys(set(kinds) - set(_kinds_of(Receipt)))
    return cls(**{**facts, **values})


def _kinds_of(cls: type[Any]) -> Mapping[str, Any]:
    if cls not in _kinds_by_class:
        hints = get_type_hints(cls)
        _kinds_by_class[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _kinds_by_class[cls]


def _unpack_value(cls: type[Any], name: str, kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if kind is Money:
        return parse_money(value)
    if kind is Decimal:
        return parse_decimal(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise InvalidInput(f"{cls.__name__}.{name} is {str(value)[:40]!r}; {kind.__name__} is needed.")
    return value
