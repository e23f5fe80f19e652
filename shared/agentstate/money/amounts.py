"""Exact money: a whole number of minor units and a currency.

The idea: an amount is checked once, at the border, and is an integer from there on. What cannot be said exactly in a
currency's scale is refused, never rounded unless the caller names the rounding. A currency's scale (digits after the
point) is registered before its first use; USDC has 6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import Literal, TypeAlias

from agentstate.errors import AmountInvalid, ConfigurationError

MAX_MINOR = 2**63 - 1
"""Largest number of minor units, either sign: what a BIGINT column holds without its lowest value."""

MAX_SCALE = 18
DEFAULT_CURRENCY = "USDC"

Rounding: TypeAlias = Literal["half_even", "half_up", "down", "up", "floor", "ceiling"]

_ROUNDINGS: dict[Rounding, str] = {
    "half_even": ROUND_HALF_EVEN,
    "half_up": ROUND_HALF_UP,
    "down": ROUND_DOWN,
    "up": ROUND_UP,
    "floor": ROUND_FLOOR,
    "ceiling": ROUND_CEILING,
}
_MAX_TEXT = 64
_MAX_EXPONENT = 40
_TEXT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?\Z")
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z")
# Wide enough for every amount that passes the bounds above: no operation on one rounds unasked.
_EXACT = Context(prec=_MAX_TEXT + 2 * _MAX_EXPONENT)

# ETH is left to its user: 18 digits in 63 bits hold 9 ETH, so whether to count in gwei (9) is a choice to make.
_scales: dict[str, int] = {"USDC": 6, "USDT": 6, "USD": 2, "BTC": 8, "SOL": 9}


def register_currency(code: str, scale: int) -> None:
    """Make `code` known with `scale` digits after the point (0 to 18). Saying the same again is fine.

    Raises:
        ConfigurationError: the code or the scale is malformed, or the code is known with another scale.
    """
    if not _CODE.match(code):
        raise ConfigurationError(f"currency {code!r} is refused: use 2 to 16 of A-Z and 0-9, beginning with a letter.")
    if isinstance(scale, bool) or not 0 <= scale <= MAX_SCALE:
        raise ConfigurationError(f"scale {scale!r} of {code} is refused: use 0 to {MAX_SCALE}.")
    if _scales.setdefault(code, scale) != scale:
        raise ConfigurationError(
            f"{code} is registered with scale {_scales[code]} and cannot become {scale}: stored amounts would change."
        )


def scale_of(currency: str) -> int:
    """Digits after the point of `currency`. Raises AmountInvalid for one that is not registered."""
    if currency not in _scales:
        raise AmountInvalid(f"currency {currency!r} is not registered; call register_currency first.")
    return _scales[currency]


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: `minor` units (millionths for USDC) of `currency`. Immutable; sums only with its like.

    Raises:
        AmountInvalid: `minor` is no integer or beyond 2^63-1, or the currency is not registered.
    """

    minor: int
    currency: str = DEFAULT_CURRENCY

    def __post_init__(self) -> None:
        scale_of(self.currency)
        if isinstance(self.minor, bool) or not isinstance(self.minor, int):
            raise AmountInvalid(f"minor units are an int, not {type(self.minor).__name__}; use Money.parse.")
        if abs(self.minor) > MAX_MINOR:
            raise AmountInvalid(f"{self.minor} minor units of {self.currency} are beyond {MAX_MINOR}.")

    @classmethod
    def parse(
        cls, value: str | Decimal | int, currency: str = DEFAULT_CURRENCY, *, rounding: Rounding | None = None
    ) -> Money:
        """Money from a number of whole units: `"2.50"`, `Decimal("2.5")` or `3`.

        Text is plain digits with an optional sign and point; a float, NaN or infinity is refused. Digits beyond the
        currency's scale are refused unless `rounding` says what to do with them.

        Raises:
            AmountInvalid: says which value and why.
        """
        scale = scale_of(currency)
        scaled = _decimal(value).scaleb(scale, context=_EXACT)
        return cls(_whole(scaled, value, currency, rounding), currency)

    @classmethod
    def zero(cls, currency: str = DEFAULT_CURRENCY) -> Money:
        """Nothing of `currency`."""
        return cls(0, currency)

    @property
    def amount(self) -> Decimal:
        """The amount in whole units, with all digits of the scale: `Decimal("2.500000")`."""
        return Decimal(self.minor).scaleb(-scale_of(self.currency), context=_EXACT)

    def format(self) -> str:
        """Text for people and logs: `2.50 USDC`, with at least two digits after the point where there are two."""
        digits = f"{self.amount:f}"
        whole, point, fraction = digits.partition(".")
        return f"{whole}{point}{fraction.rstrip('0').ljust(min(2, len(fraction)), '0')} {self.currency}"

    def __str__(self) -> str:
        return self.format()

    def __bool__(self) -> bool:
        return self.minor != 0

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._like(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._like(other), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._like(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._like(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._like(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._like(other)

    def _like(self, other: Money) -> int:
        if self.currency != other.currency:
            raise AmountInvalid(f"{self} and {other} are of different currencies; convert one first.")
        return other.minor


def positive(amount: Money, what: str = "amount") -> Money:
    """Return `amount` when it is above zero; raise AmountInvalid else."""
    if amount.minor <= 0:
        raise AmountInvalid(f"the {what} {amount} is not above zero; nothing was posted.")
    return amount


def _decimal(value: str | Decimal | int) -> Decimal:
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_MINOR:
            raise AmountInvalid(f"an amount of {value.bit_length()} bits is beyond {MAX_MINOR} minor units.")
        return Decimal(value)
    if isinstance(value, Decimal):
        return _bounded(value)
    raise AmountInvalid(
        f"an amount cannot be made from {type(value).__name__} {value!r}; give text, a Decimal or an int."
    )


def _from_text(text: str) -> Decimal:
    if len(text) > _MAX_TEXT or not _TEXT.match(text):
        shown = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
        raise AmountInvalid(f"{shown!r} is not an amount; write digits with an optional sign and point, such as 2.50.")
    return Decimal(text)


def _bounded(value: Decimal) -> Decimal:
    # Bounds first: arithmetic on 1E+20000000 would make millions of digits.
    if not value.is_finite():
        raise AmountInvalid(f"{value} is not an amount.")
    if value and (abs(value.adjusted()) > _MAX_EXPONENT or len(value.as_tuple().digits) > _MAX_TEXT):
        raise AmountInvalid(f"{str(value)[:_MAX_TEXT]} has too many digits for an amount.")
    return value or Decimal(0)


def _whole(scaled: Decimal, given: object, currency: str, rounding: Rounding | None) -> int:
    chosen = _ROUNDINGS[rounding] if rounding else None
    whole = scaled.to_integral_value(chosen or ROUND_DOWN, context=_EXACT)
    if chosen is None and whole != scaled:
        raise AmountInvalid(
            f"{given} has more than the {scale_of(currency)} digits after the point that {currency} has; "
            "round it yourself or name a rounding."
        )
    return int(whole)
