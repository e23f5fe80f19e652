"""Exact money: a whole number of minor units and a currency.

The idea: an amount is checked once, at the border, and is an integer from there on. What cannot be said exactly in a
currency's scale is refused, never rounded unless the caller names the rounding. A currency's scale (digits after the
point) is registered before its first use; USDC has 6.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import Literal, TypeAlias, cast

from agentstate.errors import AmountInvalid, AmountMixed, ConfigurationError

MAX_MINOR = 10**38 - 1
"""Largest number of minor units, either sign, of an amount and of a balance: 10^20 units of a token with 18 digits."""

MAX_SCALE = 24
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
_NUMBER_FORMATS = ("e", "E", "f", "F", "g", "G", "n", "%")
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z")
# Wide enough for every amount that passes the bounds above: no operation on one rounds unasked.
_EXACT = Context(prec=_MAX_TEXT + 2 * _MAX_EXPONENT)

# ETH is left to its user: whether to count in wei (18) or gwei (9) is a choice to make.
_scales: dict[str, int] = {"USDC": 6, "USDT": 6, "USD": 2, "BTC": 8, "SOL": 9}


def register_currency(code: str, scale: int) -> None:
    """Make `code` known with `scale` digits after the point (0 to 24). Saying the same again is fine.

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


def currency_scale(currency: str) -> int:
    """Digits after the point of `currency`. Raises AmountInvalid for one that is not registered."""
    if currency not in _scales:
        raise AmountInvalid(f"currency {currency!r} is not registered; call register_currency first.")
    return _scales[currency]


def is_registered(currency: str) -> bool:
    """True if `currency` has been registered."""
    return currency in _scales


@dataclass(frozen=True, slots=True, init=False)
class Money:
    """An exact amount of one currency; immutable and hashable.

    Amounts of one currency add, subtract, compare and sum; those of two currencies never mix, and plain numbers are
    refused rather than guessed at.

    Args:
        value: whole units, such as `"2.50"`, `Decimal("2.5")` or `3`. Text is plain digits with an optional sign and
            point; a float, NaN or infinity is refused.
        currency: a registered currency.
        rounding: how to round digits beyond the currency's scale; without it they are refused.

    Raises:
        AmountInvalid: `value` is no exact amount, has over 38 digits, or the currency is not registered.

    Example:
        price = Money("2.50")
        total = sum([price, price * 3])
        f"{total:.2f}"  # "10.00"
    """

    minor: int
    """The amount in minor units, such as millionths for USDC."""
    currency: str

    def __init__(
        self, value: Decimal | str | int, currency: str = DEFAULT_CURRENCY, *, rounding: Rounding | None = None
    ) -> None:
        scaled = parse_decimal(value).scaleb(currency_scale(currency), context=_EXACT)
        self._set(_round_to_minor(scaled, value, currency, rounding), currency)

    @classmethod
    def from_minor(cls, minor: int, currency: str = DEFAULT_CURRENCY) -> Money:
        """Return `minor` units of `currency`: `Money.from_minor(2_500_000) == Money("2.50")`.

        Raises:
            AmountInvalid: `minor` is no integer or beyond 38 digits, or the currency is not registered.
        """
        currency_scale(currency)
        if isinstance(minor, bool) or not isinstance(minor, int):
            raise AmountInvalid(f"minor units are an int, not {type(minor).__name__}; use Money(...) for whole units.")
        money = cls.__new__(cls)
        money._set(minor, currency)  # noqa: SLF001 its own
        return money

    @classmethod
    def zero(cls, currency: str = DEFAULT_CURRENCY) -> Money:
        """Return zero of `currency`."""
        return cls.from_minor(0, currency)

    @property
    def amount(self) -> Decimal:
        """The amount in whole units, with all digits of the scale: `Decimal("2.500000")`."""
        return Decimal(self.minor).scaleb(-currency_scale(self.currency), context=_EXACT)

    def __str__(self) -> str:
        # At least two digits after the point, where the currency has them: `2.50 USDC`.
        whole, point, fraction = f"{self.amount:f}".partition(".")
        return f"{whole}{point}{fraction.rstrip('0').ljust(min(2, len(fraction)), '0')} {self.currency}"

    def __repr__(self) -> str:
        return f"Money('{self.amount:f}', {self.currency!r})"

    def __format__(self, spec: str) -> str:
        """A number format (`.2f`) gives the digits alone, anything else formats the text with its currency."""
        return format(self.amount, spec) if spec[-1:] in _NUMBER_FORMATS else format(str(self), spec)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __neg__(self) -> Money:
        return Money.from_minor(-self.minor, self.currency)

    def __abs__(self) -> Money:
        return Money.from_minor(abs(self.minor), self.currency)

    def __add__(self, other: Money) -> Money:
        return Money.from_minor(self.minor + self._other_minor("+", other), self.currency)

    def __radd__(self, other: Literal[0]) -> Money:
        # `sum` begins with the plain number 0.
        if type(other) is int and other == 0:
            return self
        return Money.from_minor(self._other_minor("+", other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money.from_minor(self.minor - self._other_minor("-", other), self.currency)

    def __mul__(self, factor: int | Decimal) -> Money:
        """Multiply exactly; raises AmountInvalid when the product has more digits than the currency."""
        if isinstance(factor, float | str | Money | bool):
            raise AmountMixed(f"Money cannot be multiplied by a {type(factor).__name__}; use an int or a Decimal.")
        return Money(_EXACT.multiply(self.amount, parse_decimal(factor)), self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Money) -> bool:
        return self._compare(operator.lt, other)

    def __le__(self, other: Money) -> bool:
        return self._compare(operator.le, other)

    def __gt__(self, other: Money) -> bool:
        return self._compare(operator.gt, other)

    def __ge__(self, other: Money) -> bool:
        return self._compare(operator.ge, other)

    def _set(self, minor: int, currency: str) -> None:
        if abs(minor) > MAX_MINOR:
            raise AmountInvalid(f"{minor} minor units of {currency} are beyond {MAX_MINOR}.")
        object.__setattr__(self, "minor", minor)
        object.__setattr__(self, "currency", currency)

    def _compare(self, compare: Callable[[int, int], bool], other: object) -> bool:
        if not isinstance(other, Money):
            return cast("bool", NotImplemented)
        return compare(self.minor, self._other_minor("compared with", other))

    def _other_minor(self, sign: str, other: object) -> int:
        """Return the minor units of `other`; raise AmountMixed for a plain number, AmountInvalid for other money."""
        if not isinstance(other, Money):
            raise AmountMixed(f"Money {sign} {type(other).__name__} is refused; write {sign} Money({str(other)!r}).")
        if self.currency != other.currency:
            raise AmountInvalid(f"{self} and {other} are of different currencies; convert one first.")
        return other.minor


Amount: TypeAlias = Money | Decimal | str | int
"""An exact amount as callers may give it; never a float."""


def parse_money(value: Amount, currency: str = DEFAULT_CURRENCY) -> Money:
    """Return `value` as Money; `currency` is that of amounts without one.

    Raises:
        AmountInvalid: a float, a bool, NaN, malformed text, or digits that the currency does not have.
    """
    return value if isinstance(value, Money) else Money(value, currency)


def require_positive(amount: Money, what: str = "amount") -> Money:
    """Return `amount`; raise AmountInvalid unless it is Money above zero."""
    if not isinstance(cast("object", amount), Money):
        raise AmountMixed(
            f"the {what} {amount!r:.60} is no Money; write Money({str(amount)!r:.60}). Nothing was posted."
        )
    if amount.minor <= 0:
        raise AmountInvalid(f"the {what} {amount} is not above zero; nothing was posted.")
    return amount


def parse_decimal(value: Decimal | str | int) -> Decimal:
    """Return an exact number of whole units: the one parser of amounts.

    Text is ASCII digits with an optional sign and point: no blanks, exponents, separators or other digits.

    Raises:
        AmountInvalid: a float, a bool, NaN, infinity, other text, or more digits than any amount has.
    """
    if isinstance(value, str):
        if len(value) > _MAX_TEXT or not _TEXT.match(value):
            shown = value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}..."
            raise AmountInvalid(
                f"{shown!r} is not an amount; write digits with an optional sign and point, such as 2.50."
            )
        return Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_MINOR:
            raise AmountInvalid(f"an amount of {value.bit_length()} bits is beyond {MAX_MINOR} minor units.")
        return Decimal(value)
    if not isinstance(value, Decimal):
        raise AmountInvalid(
            f"an amount cannot be made from {type(value).__name__} {value!r}; give text, a Decimal or an int."
        )
    if not value.is_finite():
        raise AmountInvalid(f"{value} is not an amount.")
    # Before any arithmetic: 1E+20000000 would make millions of digits.
    if value and (abs(value.adjusted()) > _MAX_EXPONENT or len(value.as_tuple().digits) > _MAX_TEXT):
        raise AmountInvalid(f"{str(value)[:_MAX_TEXT]} has too many digits for an amount.")
    return value or Decimal(0)


def _round_to_minor(scaled: Decimal, given: object, currency: str, rounding: Rounding | None) -> int:
    minor = scaled.to_integral_value(_ROUNDINGS[rounding] if rounding else ROUND_DOWN, context=_EXACT)
    if rounding is None and minor != scaled:
        raise AmountInvalid(
            f"{given} has more than the {currency_scale(currency)} digits after the point that {currency} has; "
            "round it yourself or name a rounding."
        )
    return int(minor)
