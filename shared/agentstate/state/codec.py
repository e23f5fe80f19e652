"""JSON for state: what Python holds and JSON lacks goes through tags and comes back as it was.

Decimal, Money, datetime, UUID, bytes and tuples become `{"$": [tag, content]}`; a user's own dict with the one key
`"$"` is escaped, so it comes back too, at any depth. Floats and keys that are not text are refused: money is Decimal,
and a measure that may lose digits is given as text. What cannot be represented raises InvalidInput before anything is
stored, and so does stored text that was changed since.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from agentstate.errors import InvalidInput
from agentstate.state import leaves

_KEY = "$"
_SHOWN = 40
_DECODERS: dict[str, Callable[[str], Any]] = {
    "decimal": leaves.decimal_from,
    "money": leaves.money_from,
    "datetime": leaves.datetime_from,
    "uuid": UUID,
    "bytes": lambda text: base64.b64decode(text, validate=True),
}


def dumps(value: Any) -> str:
    """`value` as compact JSON text with sorted keys: equal values give equal text.

    Raises:
        InvalidInput: a float, NaN, a naive datetime, a key that is not text, text with a NUL character or half a
            surrogate pair, a number beyond `leaves.MAX_DIGITS` or `MAX_INT_BITS`, an unknown type, or a value that
            contains itself.
    """
    try:
        return json.dumps(encoded(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise InvalidInput("the value is nested too deeply, or contains itself. Nothing was stored.") from None


def loads(text: str | bytes) -> Any:
    """What `dumps` was given; numbers with a point come back as Decimal, never as float.

    Raises:
        InvalidInput: the text is no JSON, holds NaN or a number beyond the bounds, or a tag that cannot be read.
    """
    try:
        return decoded(json.loads(text, parse_float=leaves.number_from, parse_constant=_constant))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the stored JSON cannot be read: {str(error)[:200]}. It was left as it is.") from None


def copied(value: Any) -> Any:
    """`value` as it comes back from a store, sharing nothing with it; raises InvalidInput as `dumps`."""
    try:
        return decoded(encoded(value))
    except RecursionError:
        raise InvalidInput("the value is nested too deeply, or contains itself. Nothing was stored.") from None


def encoded(value: Any) -> Any:
    """`value` made of plain JSON types alone."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return leaves.checked_text(value)
    if isinstance(value, int):
        return leaves.checked_int(value)
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, list):
        return [encoded(item) for item in value]
    return {_KEY: list(_tagged(value))}


def decoded(value: Any) -> Any:
    """The inverse of `encoded`."""
    if isinstance(value, dict):
        return _from_mapping(value)
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def legible(text: str, limit: int) -> str:
    """`text` as every store takes it, at most `limit` characters: what cannot be stored is written out."""
    return text[:limit].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")[:limit]


def _mapping(value: dict[Any, Any]) -> dict[str, Any]:
    plain = {key: encoded(item) for key, item in leaves.checked_keys(value).items()}
    return {_KEY: ["dict", plain]} if set(plain) == {_KEY} else plain


def _tagged(value: Any) -> tuple[str, Any]:
    if isinstance(value, Decimal):
        return "decimal", leaves.decimal_text(value)
    if isinstance(value, datetime):
        return "datetime", leaves.utc(value).isoformat()
    if isinstance(value, UUID):
        return "uuid", str(value)
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode("ascii")
    if isinstance(value, tuple):
        return "tuple", [encoded(item) for item in value]
    money = leaves.money_text(value)
    return ("money", money) if money is not None else leaves.refuse(value)


def _from_mapping(value: dict[str, Any]) -> Any:
    if set(value) != {_KEY}:
        return {key: decoded(item) for key, item in value.items()}
    match value[_KEY]:
        case ["dict", dict(content)]:
            return {key: decoded(item) for key, item in content.items()}
        case ["tuple", list(content)]:
            return tuple(decoded(item) for item in content)
        case [str(tag), str(content)]:
            return _from_text(tag, content)
    raise InvalidInput("stored JSON has a tag of a shape that this version does not know. It was left as it is.")


def _from_text(tag: str, content: str) -> Any:
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise InvalidInput(f"stored JSON has the unknown tag {tag[:_SHOWN]!r}; it was written by a newer version.")
    try:
        return decoder(content)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{content[:_SHOWN]!r} is no {tag}; the stored text was changed.") from None


def _constant(name: str) -> NoReturn:
    raise InvalidInput(f"stored JSON holds {name}, which is no number. It was left as it is.")
