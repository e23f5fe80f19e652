"""JSON for state: Python types that JSON lacks are written as tags and read back exactly.

Decimal, Money, datetime, UUID, bytes and tuples become `{"$": [tag, content]}`; a user's own dict with the one key
`"$"` is escaped, so it comes back too, at any depth. Floats and keys that are not text are refused: money is Decimal,
and a measure that may lose digits is given as text. What cannot be represented raises InvalidInput before anything is
stored, and so does stored text that was changed since.

The text is written and read in C; Python only looks for what needs a tag, and, when reading, only where there is one.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isfinite
from typing import Any, NoReturn
from uuid import UUID

import msgspec

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money

MAX_DIGITS = 100
"""Digits of a Decimal before the point, and after it, at most."""

MAX_INT_BITS = 4_096
"""Largest whole number: about 1,233 digits, far over any amount in the smallest unit of any chain."""

_SHOWN = 40
_LONGEST_REPR = 2_000
_DEEPEST = 40
_INT = re.compile(r"-?[0-9]{1,1300}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?\Z")
TAG = "$"
"""A dict with this one key looks like a tag of the JSON format."""

_PAIR = 2
_NO_TAG = ("", "")
_LARGEST = 2**MAX_INT_BITS - 1
# The escape of a NUL character, which no backslash of the user's own makes harmless.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TAG_ESCAPE = "\\u0024"
# An encoder that sorts keys refuses those that are not text; one that does not would write them as text.
_sorting = msgspec.json.Encoder(order="deterministic")
_in_order = msgspec.json.Encoder()


def dumps(value: Any) -> str:
    """Encode `value` as compact JSON text with sorted keys: equal values give equal text.

    Raises:
        InvalidInput: a float, NaN, a naive datetime, a key that is not text, text with a NUL character or half a
            surrogate pair, a number beyond `MAX_DIGITS` or `MAX_INT_BITS`, an unknown type, or a value that
            contains itself.
    """
    return _encode_text(value)


def dumps_boxed(value: Any) -> str:
    """Encode as `dumps`, with a bare number tagged, for a store that would convert numeric text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f'{{"{TAG}":["int","{check_int(value):d}"]}}'
    return dumps(value)


def loads(text: str | bytes) -> Any:
    """Decode the text of `dumps`; numbers with a point become Decimal, never float.

    Raises:
        InvalidInput: the text is no JSON, holds NaN or a number beyond the bounds, or a tag that cannot be read.
    """
    try:
        shown = text if isinstance(text, str) else str(text, "utf-8")
        value = _decoder.decode(shown)
        # One character is found much faster than a word.
        has_tags = TAG in shown or ("\\" in shown and _TAG_ESCAPE in shown)
        return from_json_types(value) if has_tags else value
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the stored JSON cannot be read: {str(error)[:200]}. It was left as it is.") from None


def deep_copy(value: Any) -> Any:
    """Copy `value` as a store would give it back, keys in order, sharing nothing; raise as `dumps`."""
    return loads(_encode_text(value, in_order=True))


def to_json_types(value: Any) -> Any:
    """Return `value` in plain JSON types alone, for a larger JSON document; raises as `dumps`."""
    return msgspec.json.decode(_encode_text(value, in_order=True))


def from_json_types(value: Any) -> Any:
    """Invert `to_json_types`; `value` is used up."""
    whole = [value]
    _resolve_tags(whole, ((0, value),))
    return whole[0]


def storable_text(text: str, limit: int) -> str:
    """Return `text` cut to `limit` characters, with characters that cannot be stored escaped."""
    return text[:limit].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")[:limit]


def to_plain(value: Any) -> Any:
    """Return any value in a form that can be stored, as it comes back from the store; never raises.

    Floats become the Decimal that they print as, dataclasses dicts, odd keys text; a value without an exact form is
    described by its `repr`.
    """
    plain = _convert_containers(value, lambda leaf: leaf)
    try:
        return deep_copy(plain)
    except InvalidInput:
        # Something in it has no exact form: each value by itself, described where it has none.
        return _convert_containers(value, _copy_or_describe)


def fingerprint_value(value: Any) -> bytes:
    """Return the SHA-256 of the canonical text of `value`; raise as `dumps`.

    Equal numbers give equal text whatever their type and trailing zeros (10, Decimal("10.00")); a number and its text
    stay apart.
    """
    return hashlib.sha256(dumps(_normalise_numbers(value)).encode()).digest()


def _normalise_numbers(value: Any) -> Any:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        text = decimal_text(Decimal(value))
        trimmed = text.rstrip("0").rstrip(".") if "." in text else text
        return Decimal(0) if trimmed in {"0", "-0"} else Decimal(trimmed)
    if isinstance(value, Money):
        return {"minor": value.minor, "currency": value.currency}
    if isinstance(value, Mapping):
        return {key: _normalise_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalise_numbers(item) for item in value]
    return value


def describe_value(value: Any) -> dict[str, str]:
    """Return the text that stands for a value that cannot be stored."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 the description may fail; the fact it describes may not
        text = f"<{type(value).__name__}>"
    return {"repr": _shorten_text(text)}


def _convert_containers(value: Any, convert_leaf: Callable[[Any], Any], depth: int = 0) -> Any:
    """Return `value` with its containers as dicts with text keys and lists, and text and floats in a storable form."""
    if type(value) is str:
        return _replace_unstorable(value)
    if depth > _DEEPEST:
        return describe_value(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Money):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            _shorten_text(str(name)): _convert_containers(item, convert_leaf, depth + 1) for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_convert_containers(item, convert_leaf, depth + 1) for item in value]
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return Decimal(repr(value)) if isfinite(value) else str(value)
    return _replace_unstorable(value) if isinstance(value, str) else convert_leaf(value)


def _copy_or_describe(value: Any) -> Any:
    try:
        return deep_copy(value)
    except InvalidInput:
        return describe_value(value)


def _replace_unstorable(text: str) -> str:
    """Replace characters that no database stores: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _shorten_text(text: str) -> str:
    cleaned = _replace_unstorable(text)
    return cleaned if len(cleaned) <= _LONGEST_REPR else f"{cleaned[:_LONGEST_REPR]}..."


def _encode_text(value: Any, *, in_order: bool = False) -> str:
    try:
        plain = _make_plain(value)
        body = _sorting.encode(plain)
        body = _in_order.encode(plain) if in_order else body
    except RecursionError:
        raise InvalidInput("the value is nested too deeply, or contains itself. Nothing was stored.") from None
    except UnicodeEncodeError:
        refuse_surrogate()
    except TypeError:
        refuse_keys()
    if b"\\" in body and b"\\u0000" in body and _NUL.search(body):
        refuse_nul()
    return body.decode()


def _encode_other(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(check_int(value))
    if isinstance(value, dict):
        return _make_plain(dict(value))
    if isinstance(value, list):
        return _make_plain(list(value))
    return {TAG: _tag_value(value)}


def _tag_value(value: Any) -> tuple[str, Any]:
    if isinstance(value, Decimal):
        return "decimal", decimal_text(value)
    if isinstance(value, datetime):
        return "datetime", to_utc(value).isoformat()
    if isinstance(value, UUID):
        return "uuid", str(value)
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode("ascii")
    if isinstance(value, tuple):
        return "tuple", _make_plain(list(value))
    return ("money", money_text(value)) if isinstance(value, Money) else refuse_value(value)


def _resolve_tags(container: Any, places: Iterable[tuple[Any, Any]]) -> None:
    """Replace the tags in `container`, with items at `places`, by their values."""
    for place, item in places:
        kind = type(item)
        if kind is dict:
            if len(item) == 1 and TAG in item:
                tagged = item[TAG]
                try:
                    tag, content = tagged if type(tagged) is list else _NO_TAG
                    container[place] = _READERS[tag](content)
                except InvalidInput:
                    raise
                except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                    _refuse_tag(tagged)
            else:
                _resolve_tags(item, item.items())
        elif kind is list:
            _resolve_tags(item, enumerate(item))


def _refuse_tag(tagged: Any) -> NoReturn:
    if type(tagged) is not list or len(tagged) != _PAIR or type(tagged[0]) is not str:
        raise InvalidInput("stored JSON has a tag of a shape that this version does not know. It was left as it is.")
    tag, content = tagged
    if tag not in _READERS:
        raise InvalidInput(f"stored JSON has the unknown tag {tag[:_SHOWN]!r}; it was written by a newer version.")
    raise InvalidInput(
        f"the content {str(content)[:_SHOWN]!r} of a tag is no {tag}; the stored text was changed."
    ) from None


def _read_dict(content: Any) -> dict[str, Any]:
    _resolve_tags(content, content.items())
    return dict(content)


def _read_tuple(content: Any) -> tuple[Any, ...]:
    if type(content) is not list:
        raise TypeError(type(content))
    _resolve_tags(content, enumerate(content))
    return tuple(content)


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


def money_text(value: Money) -> str:
    """Return `2.500000 USDC`: whole units, which say the same under any scale."""
    return f"{value.amount:f} {value.currency}"


def money_from(text: str) -> Money:
    """Invert `money_text`; raise ValueError for other text, AmountInvalid for an unknown currency."""
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


def plain_converter(
    *,
    low: int,
    high: int,
    decimal: Callable[[Decimal], Any],
    other: Callable[[Any], Any],
    escaped: Callable[[dict[str, Any]], Any],
    takes_nul: bool,
) -> Callable[[Any], Any]:
    """Return a function that makes values plain for one format, or raises InvalidInput for inexact ones.

    Args:
        low: smallest whole number that the format writes as it is.
        high: largest one.
        decimal: what stands for a Decimal.
        other: what stands for a value of any other type.
        escaped: what stands for a dict whose one key is `TAG`; it is given the plain dict.
        takes_nul: leave NUL characters to the format, which finds them in what it has written.
    """

    def convert_items(value: Any, places: Iterable[tuple[Any, Any]]) -> Any:
        out = value
        for place, item in places:
            kind = type(item)
            if (kind is str and (takes_nul or "\x00" not in item)) or (kind is int and low <= item <= high):
                continue
            if kind is Decimal:
                new = decimal(item)
            elif kind is dict:
                if not takes_nul:
                    check_keys(item)
                new = convert_items(item, item.items())
                new = escaped(new) if len(item) == 1 and TAG in item else new
            elif kind is list:
                new = convert_items(item, enumerate(item))
            elif item is None or kind is bool:
                continue
            else:
                new = other(item)
            if new is not item:
                out = value.copy() if out is value else out
                out[place] = new
        return out

    return lambda value: convert_items([value], ((0, value),))[0]


_make_plain = plain_converter(
    low=-_LARGEST,
    high=_LARGEST,
    decimal=lambda value: msgspec.Raw('{"$":["decimal","' + decimal_text(value) + '"]}'),
    other=_encode_other,
    escaped=lambda value: {TAG: ("dict", value)},
    takes_nul=True,
)
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=number_from)
_READERS: dict[str, Callable[[Any], Any]] = {
    "decimal": decimal_from,
    "int": int_from,
    "money": money_from,
    "datetime": datetime_from,
    "uuid": UUID,
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "dict": _read_dict,
    "tuple": _read_tuple,
}
