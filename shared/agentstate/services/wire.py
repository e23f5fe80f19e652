"""Values on the wire: JSON with exact numbers, amounts, and typed access to the members of an answer.

Numbers become Decimal, never float, and Decimal leaves as a number literal. Amounts of callers are read by
`agentstate.money.amounts.parse_money`; nothing here reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any, Final, TypeAlias

import msgspec

from agentstate.errors import AmountInvalid, ServiceAnswerInvalid
from agentstate.money.amounts import Amount, Money, parse_money

Body: TypeAlias = dict[str, Any]

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Return a request's JSON."""
    return _ENCODER.encode(body)


def decode_json(content: bytes | msgspec.Raw) -> Body:
    """Return an answer's JSON object without the `_info` that the services add.

    Raises:
        ServiceAnswerInvalid: no JSON (NaN is none), or no object.
    """
    try:
        body = _DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ServiceAnswerInvalid(
            f"the answer of {len(bytes(content))} bytes is no JSON: {str(error)[:120]}."
        ) from None
    if not isinstance(body, dict):
        raise ServiceAnswerInvalid(f"the answer is a JSON {type(body).__name__}, not an object.")
    body.pop("_info", None)
    return body


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


_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


class Answer:
    """Typed access to one JSON object.

    Every method raises ServiceAnswerInvalid when the member is missing or of another kind; it names the member.
    """

    def __init__(self, body: object) -> None:
        if not isinstance(body, Mapping):
            raise ServiceAnswerInvalid(f"the answer has a {type(body).__name__} where an object belongs.")
        self._body: Mapping[str, Any] = body

    @property
    def body(self) -> Mapping[str, Any]:
        """The object as it came."""
        return self._body

    def get_text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._body.get(name)
        if not isinstance(value, str) or not value:
            raise self._member_error(name, "text")
        return value

    def get_flag(self, name: str) -> bool:
        """True or false."""
        value = self._body.get(name)
        if not isinstance(value, bool):
            raise self._member_error(name, "true or false")
        return value

    def get_number(self, name: str) -> Decimal:
        """A number, also one written as text, as the wallet does."""
        value = self._body.get(name)
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise self._member_error(name, "a number")
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            raise self._member_error(name, "a number")
        return Decimal(value)

    def get_micros(self, name: str) -> int:
        """A number of dollars as the nearest micro-USDC."""
        try:
            return round_to_micros(self.get_number(name))
        except AmountInvalid:
            raise self._member_error(name, "an amount below a trillion dollars") from None

    def get_money(self, name: str) -> Money:
        """A number of dollars as the nearest exact amount."""
        return Money.from_minor(self.get_micros(name))

    def get_time(self, name: str) -> datetime:
        """A time in ISO 8601, UTC when it names no zone."""
        try:
            when = datetime.fromisoformat(self.get_text(name))
        except ValueError:
            raise self._member_error(name, "a time in ISO 8601") from None
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def get_items(self, name: str) -> list[Answer]:
        """A list of objects."""
        value = self._body.get(name)
        if not isinstance(value, list):
            raise self._member_error(name, "a list")
        return [Answer(item) for item in value]

    def get_object(self, name: str) -> Answer:
        """An object inside this one."""
        return Answer(self._body.get(name))

    def has_member(self, name: str) -> bool:
        """Whether the member is there, null included."""
        return name in self._body

    def get(self, name: str) -> Any:
        """A member as it came, None when it is missing."""
        return self._body.get(name)

    def _member_error(self, name: str, wanted: str) -> ServiceAnswerInvalid:
        value = self._body.get(name)
        found = "is missing" if name not in self._body else f"is {str(value)[:40]!r}"
        return ServiceAnswerInvalid(f"in the service's answer `{name}` {found}; {wanted} was expected.")
