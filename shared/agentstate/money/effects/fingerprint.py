"""One text for equal parameters, and what is made from it: the fingerprint and the key that the remote is given.

Equal numbers give equal text whatever their type and trailing zeros (10, Decimal("10.00")); a number and its text stay
apart. Everything is checked here, before any effect, so a value that cannot be stored never costs one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agentstate.money.amounts import Money
from agentstate.state import codec, scalars

REMOTE_KEY_LENGTH = 40
_UNKEYED = b"agentstate"


def fingerprint(value: Any) -> bytes:
    """SHA-256 of the canonical text of `value`. Raises InvalidInput for what the codec refuses (floats, NaN, ...)."""
    return hashlib.sha256(codec.dumps(_canonical(value)).encode()).digest()


def storable_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` as the codec will read them back; raises InvalidInput for what it cannot hold."""
    restored: dict[str, Any] = codec.loads(codec.dumps(dict(params)))
    return restored


def make_remote_key(secret: bytes | None, agent_id: str, key: str) -> str:
    """The name under which a remote service knows the effect `key` of `agent_id`: 40 hex digits.

    Made from the key alone, so a store that lost the effect makes the same name again and the remote still dedupes.
    With a `secret` nobody outside can foretell it, which matters where the remote uses it as a seed.
    """
    text = f"{len(agent_id)}:{agent_id}|{key}".encode()
    return hmac.new(secret or _UNKEYED, text, hashlib.sha256).hexdigest()[:REMOTE_KEY_LENGTH]


def _canonical(value: Any) -> Any:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _trimmed(Decimal(value))
    if isinstance(value, Money):
        return {"minor": value.minor, "currency": value.currency}
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def _trimmed(value: Decimal) -> Decimal:
    text = scalars.decimal_text(value)
    trimmed = text.rstrip("0").rstrip(".") if "." in text else text
    return Decimal(0) if trimmed in {"0", "-0"} else Decimal(trimmed)
