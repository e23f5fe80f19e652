"""JSON for state: Python types that JSON lacks are written as tags and read back exactly.

Decimal, Money, datetime, UUID, bytes and tuples become `{"$": [tag, content]}`; a user's own dict with the one key
`"$"` is escaped, so it comes back too, at any depth. Floats and keys that are not text are refused: money is Decimal,
and a measure that may lose digits is given as text. What cannot be represented raises InvalidInput before anything is
stored, and so does stored text that was changed since.

The text is written and read in C; Python only looks for what needs a tag, and, when reading, only where there is one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import msgspec

from agentstate.errors import InvalidInput
from agentstate.state import scalars
from agentstate.state.plain_values import TAG, plain_converter

_SHOWN = 40
_PAIR = 2
_NO_TAG = ("", "")
_LARGEST = 2**scalars.MAX_INT_BITS - 1
# The escape of a NUL character, which no backslash of the user's own makes harmless.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TAG_ESCAPE = "\\u0024"
# An encoder that sorts keys refuses those that are not text; one that does not would write them as text.
_sorting = msgspec.json.Encoder(order="deterministic")
_in_order = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=scalars.number_from)


def dumps(value: Any) -> str:
    """Encode `value` as compact JSON text with sorted keys: equal values give equal text.

    Raises:
        InvalidInput: a float, NaN, a naive datetime, a key that is not text, text with a NUL character or half a
            surrogate pair, a number beyond `scalars.MAX_DIGITS` or `MAX_INT_BITS`, an unknown type, or a value that
            contains itself.
    """
    return _encode_text(value)


def dumps_boxed(value: Any) -> str:
    """Encode as `dumps`, with a bare number tagged, for a store that would convert numeric text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f'{{"{TAG}":["int","{scalars.check_int(value):d}"]}}'
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


def _encode_text(value: Any, *, in_order: bool = False) -> str:
    try:
        plain = _make_plain(value)
        body = _sorting.encode(plain)
        body = _in_order.encode(plain) if in_order else body
    except RecursionError:
        raise InvalidInput("the value is nested too deeply, or contains itself. Nothing was stored.") from None
    except UnicodeEncodeError:
        scalars.refuse_surrogate()
    except TypeError:
        scalars.refuse_keys()
    if b"\\" in body and b"\\u0000" in body and _NUL.search(body):
        scalars.refuse_nul()
    return body.decode()


def _encode_other(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(scalars.check_int(value))
    if isinstance(value, dict):
        return _make_plain(dict(value))
    if isinstance(value, list):
        return _make_plain(list(value))
    return {TAG: _tag_value(value)}


def _tag_value(value: Any) -> tuple[str, Any]:
    if isinstance(value, Decimal):
        return "decimal", scalars.decimal_text(value)
    if isinstance(value, datetime):
        return "datetime", scalars.to_utc(value).isoformat()
    if isinstance(value, UUID):
        return "uuid", str(value)
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode("ascii")
    if isinstance(value, tuple):
        return "tuple", _make_plain(list(value))
    money = scalars.money_text(value)
    return ("money", money) if money is not None else scalars.refuse_value(value)


_make_plain = plain_converter(
    low=-_LARGEST,
    high=_LARGEST,
    decimal=lambda value: msgspec.Raw('{"$":["decimal","' + scalars.decimal_text(value) + '"]}'),
    other=_encode_other,
    escaped=lambda value: {TAG: ("dict", value)},
    takes_nul=True,
)


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


_READERS: dict[str, Callable[[Any], Any]] = {
    "decimal": scalars.decimal_from,
    "int": scalars.int_from,
    "money": scalars.money_from,
    "datetime": scalars.datetime_from,
    "uuid": UUID,
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "dict": _read_dict,
    "tuple": _read_tuple,
}
