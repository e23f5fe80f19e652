"""JSON for state: what Python holds and JSON lacks goes through tags and comes back as it was.

Decimal, datetime, UUID and bytes become `{"$": [tag, text]}`; a user's own dict with the one key `"$"` is escaped, so
it comes back too. Floats are refused: money is Decimal, and a measure that may lose digits is given as text. What
cannot be represented raises InvalidInput before anything is stored.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from agentstate.errors import InvalidInput

_KEY = "$"
_MAX_DIGITS = 100
_DECIMAL = re.compile(r"-?\d{1,100}(\.\d{1,100})?\Z")
_DECODERS: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "uuid": UUID,
    "bytes": base64.b64decode,
}


def dumps(value: Any) -> str:
    """`value` as compact JSON text with sorted keys: equal values give equal text.

    Raises:
        InvalidInput: a float, NaN, a naive datetime, a key that is not text, text with a NUL character or half a
            surrogate pair, or an unknown type.
    """
    return json.dumps(encoded(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """What `dumps` was given; numbers with a point come back as Decimal, never as float."""
    return decoded(json.loads(text, parse_float=Decimal))


def encoded(value: Any) -> Any:
    """`value` made of plain JSON types alone."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, list | tuple):
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


def _text(value: str) -> str:
    if "\x00" in value:
        raise InvalidInput("text with a NUL character cannot be stored; remove it. Nothing was stored.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("text with half a surrogate pair cannot be stored; remove it. Nothing was stored.") from None
    return value


def _mapping(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise InvalidInput(f"the key {key!r} is not text; JSON keys are text. Nothing was stored.")
    plain = {_text(key): encoded(item) for key, item in value.items()}
    return {_KEY: ["dict", plain]} if set(plain) == {_KEY} else plain


def _tagged(value: Any) -> tuple[str, str]:
    if isinstance(value, Decimal):
        return "decimal", _decimal_text(value)
    if isinstance(value, datetime):
        return "datetime", _datetime_text(value)
    if isinstance(value, UUID):
        return "uuid", str(value)
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode("ascii")
    remedy = (
        "give a Decimal or text"
        if isinstance(value, float)
        else "give text, numbers, lists, dicts, Decimal or datetime"
    )
    raise InvalidInput(
        f"a value of type {type(value).__name__} cannot be stored exactly; {remedy}. Nothing was stored."
    )


def _decimal_text(value: Decimal) -> str:
    bounded = value.is_finite() and abs(value.adjusted()) < _MAX_DIGITS
    text = format(value, "f") if bounded else str(value)
    if not _DECIMAL.match(text):
        raise InvalidInput(
            f"the decimal {str(value)[:40]} is not finite or has over {_MAX_DIGITS} digits. Nothing was stored."
        )
    return text


def _datetime_text(value: datetime) -> str:
    if value.tzinfo is None:
        raise InvalidInput(f"the datetime {value.isoformat()} has no time zone; give UTC. Nothing was stored.")
    return value.astimezone(UTC).isoformat()


def _from_mapping(value: dict[str, Any]) -> Any:
    if set(value) != {_KEY}:
        return {key: decoded(item) for key, item in value.items()}
    tag, content = value[_KEY]
    if tag == "dict":
        return {key: decoded(item) for key, item in content.items()}
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise InvalidInput(f"stored JSON has the unknown tag {tag!r}; it was written by a newer version.")
    return decoder(content)
