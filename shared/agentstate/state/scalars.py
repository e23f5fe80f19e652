"""The single values that state may hold beside text and containers: how each is checked, and its one text.

The idea: whatever the format around it (JSON, MessagePack), a Decimal, a time or an amount has one exact text, checked
by the same rule on the way in and on the way out. What has no exact text, a float above all, is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

from agentstate.errors import InvalidInput

if TYPE_CHECKING:
    from agentstate.money.amounts import Money

MAX_DIGITS = 100
"""Digits of a Decimal before the point, and after it, at most."""

MAX_INT_BITS = 4_096
"""Largest whole number: about 1,233 digits, far over any amount in the smallest unit of any chain."""

_SHOWN = 40
_INT = re.compile(r"-?[0-9]{1,1300}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?\Z")


def check_text(value: str) -> str:
    """`value` when every store takes it; raises InvalidInput for a NUL character or half a surrogate pair."""
    if "\x00" in value:
        refuse_nul()
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse_surrogate()
    return value


def refuse_nul() -> NoReturn:
    """Raise the InvalidInput for text with a NUL character."""
    raise InvalidInput("text with a NUL character cannot be stored; remove it. Nothing was stored.")


def refuse_surrogate() -> NoReturn:
    """Raise the InvalidInput for text with half a surrogate pair."""
    raise InvalidInput("text with half a surrogate pair cannot be stored; remove it. Nothing was stored.") from None


def check_int(value: int) -> int:
    """`value` when it is within `MAX_INT_BITS`; raises InvalidInput else."""
    if value.bit_length() > MAX_INT_BITS:
        raise InvalidInput(
            f"a whole number of {value.bit_length():,} bits is over the limit of {MAX_INT_BITS:,}. Nothing was stored."
        )
    return value


def int_from(text: str) -> int:
    """The whole number that plain digits name; raises ValueError for other text, InvalidInput beyond the bound."""
    if not _INT.match(text):
        raise ValueError(text)
    return check_int(int(text))


def check_keys(value: dict[Any, Any]) -> dict[str, Any]:
    """`value` when its keys are text without a NUL character; raises InvalidInput else."""
    try:
        # Joining looks at all of them at once, much faster than one by one.
        if "\x00" in "".join(value):
            refuse_nul()
    except TypeError:
        refuse_keys()
    return value


def refuse_keys() -> NoReturn:
    """Raise the InvalidInput for keys that are not text: 1 and "1" would become one key."""
    raise InvalidInput("a key that is not text is refused: keys are text. Nothing was stored.") from None


def decimal_text(value: Decimal) -> str:
    """The digits of `value`, without an exponent; raises InvalidInput unless it is finite and within `MAX_DIGITS`."""
    text = str(value)
    if len(text) <= MAX_DIGITS and "E" not in text and value.is_finite():
        return text
    # Bounds first: format() on 1E+20000000 would write twenty million digits.
    bounded = value.is_finite() and abs(value.adjusted()) < MAX_DIGITS
    text = format(value, "f") if bounded else str(value)
    if not _DECIMAL.match(text):
        raise InvalidInput(
            f"the decimal {text[:_SHOWN]} is not finite or has over {MAX_DIGITS} digits. Nothing was stored."
        )
    return text


def decimal_from(text: str) -> Decimal:
    """The inverse of `decimal_text`; raises ValueError for any other text."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if str(value) == text and len(text) <= MAX_DIGITS and "E" not in text and value.is_finite():
        return value
    if not _DECIMAL.match(text):
        raise ValueError(text)
    return value


def number_from(text: str) -> Decimal:
    """A JSON number with a point or an exponent, exactly; raises InvalidInput beyond `MAX_DIGITS`."""
    value = Decimal(text)
    decimal_text(value)
    return value


def to_utc(value: datetime) -> datetime:
    """`value` in UTC; raises InvalidInput for a naive one, or one that UTC cannot name (before year 1, after 9999)."""
    if value.tzinfo is None:
        raise InvalidInput(f"the datetime {value.isoformat()} has no time zone; give UTC. Nothing was stored.")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"the datetime {value.isoformat()} has no name in UTC. Nothing was stored.") from None


def datetime_from(text: str) -> datetime:
    """The moment that ISO text with an offset names; raises ValueError for any other text."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def money_text(value: Any) -> str | None:
    """`2.500000 USDC`, or None when `value` is no Money. In whole units: it says the same under any scale."""
    from agentstate.money.amounts import Money  # `money` needs the store, and the store this package

    return f"{value.amount:f} {value.currency}" if isinstance(value, Money) else None


def money_from(text: str) -> Money:
    """The inverse of `money_text`; raises ValueError for other text, AmountInvalid for an unknown currency."""
    from agentstate.money.amounts import Money

    amount, _, currency = text.partition(" ")
    return Money(amount, currency)


def refuse_value(value: Any) -> NoReturn:
    """Raise the InvalidInput for a value of a type that has no exact form."""
    remedy = (
        "give a Decimal or text"
        if isinstance(value, float)
        else "give text, numbers, lists, dicts, Decimal, Money, datetime, UUID or bytes"
    )
    raise InvalidInput(
        f"a value of type {type(value).__name__} cannot be stored exactly; {remedy}. Nothing was stored."
    )
