"""Amounts on the wire: our exact amounts as JSON numbers, and the services' numbers, which carry IEEE 754 noise.

Amounts of callers are read by `agentstate.money.amounts.parse_money`; nothing here reads them.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from agentstate.errors import AmountInvalid
from agentstate.money.amounts import Amount, parse_money

SCALE: Final = 6
"""A micro-USDC is the sixth decimal of a dollar."""

MOST: Final = 10**18
"""Largest amount in micro-USDC: a trillion dollars, well inside 64 bits."""


def wire_amount(amount: Amount) -> Decimal:
    """Return an amount of an operation as it is sent: dollars, without zeros beyond the cents."""
    return micros_to_dollars(parse_money(amount).minor)


def micros_to_dollars(micros: int) -> Decimal:
    """Return micro-USDC as dollars, without zeros beyond the cents."""
    dollars = Decimal(micros).scaleb(-SCALE)
    short = dollars.quantize(Decimal("0.01"))
    return short if short == dollars else dollars


def round_to_micros(value: Decimal) -> int:
    """Round a service's number, which may be 1e-8 dollars off, to micro-USDC.

    Raises:
        AmountInvalid: not finite, or above a trillion dollars.
    """
    if not value.is_finite() or (value and value.adjusted() > SCALE * 2):
        raise AmountInvalid(f"the number {str(value)[:40]} is not finite or above a trillion dollars.")
    with localcontext(prec=50):
        return int(value.scaleb(SCALE).to_integral_value(ROUND_HALF_EVEN))
