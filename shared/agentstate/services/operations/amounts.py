"""Dollars on the wire and micro-USDC in our books: exact in both directions, floats refused."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext

from agentstate.errors import AmountInvalid

SCALE = 6
"""A micro-USDC is the sixth decimal of a dollar."""

MOST = 10**18
"""Largest amount in micro-USDC: a trillion dollars, well inside 64 bits."""

CENT = 10**4


def to_micros(value: object, what: str = "amount") -> int:
    """A Decimal (or its text) in dollars as micro-USDC, exactly.

    Raises:
        AmountInvalid: a float or another type, not finite, over six decimals, or over a trillion dollars.
    """
    scaled = _decimal(value, what)
    if not scaled.is_finite() or scaled.adjusted() > SCALE * 2:
        raise AmountInvalid(f"{what} {str(value)[:40]} is not finite or above a trillion dollars.")
    scaled = scaled.scaleb(SCALE)
    if scaled != scaled.to_integral_value():
        raise AmountInvalid(f"{what} {str(value)[:40]} has over {SCALE} decimals; round it first.")
    return int(scaled)


def _decimal(value: object, what: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | str):
        raise AmountInvalid(
            f'{what} {str(value)[:40]} is a {type(value).__name__}; give a Decimal in dollars, such as Decimal("2.50").'
        )
    try:
        return Decimal(value)
    except InvalidOperation:
        raise AmountInvalid(f"{what} {str(value)[:40]!r} is no decimal number.") from None


def from_micros(micros: int) -> Decimal:
    """Micro-USDC as dollars, without needless zeros beyond the cents."""
    dollars = Decimal(micros).scaleb(-SCALE)
    short = dollars.quantize(Decimal("0.01"))
    return short if short == dollars else dollars


def nearest_micros(value: Decimal) -> int:
    """The micro-USDC nearest to a service's number, which carries noise of IEEE 754 (at most 1e-8 dollars).

    Raises:
        AmountInvalid: not finite, or above a trillion dollars.
    """
    if not value.is_finite() or (value and value.adjusted() > SCALE * 2):
        raise AmountInvalid(f"the number {str(value)[:40]} is not finite or above a trillion dollars.")
    with localcontext(prec=50):
        return int(value.scaleb(SCALE).to_integral_value(ROUND_HALF_EVEN))
