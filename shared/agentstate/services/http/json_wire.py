"""JSON as it crosses the wire: numbers become Decimal, never float, and Decimal leaves as a number literal."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from agentstate.errors import ServiceAnswerInvalid

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
