"""Outcomes as they are stored: a tagged envelope, so that None, {}, 0 and "" are results like any other.

A result is made plain before it is stored and before it is returned, so that the first call and every replay give
equal values. A result that cannot be stored exactly is kept as its description: the fact that the call succeeded is
never lost to the shape of its answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.state import codec

_VERSION = 1
_LONGEST_REPR = 2_000
_DEEPEST = 40


def success_envelope(result: Any) -> dict[str, Any]:
    """The envelope of a call that returned `result`."""
    return {"v": _VERSION, "ok": True, "value": to_plain(result)}


def failure_envelope(code: str, message: str) -> dict[str, Any]:
    """The envelope of a call that certainly had no effect."""
    return {"v": _VERSION, "ok": False, "code": _clean(code), "message": _clean(message)}


def to_plain(value: Any, *, depth: int = 0) -> Any:
    """`value` as what the codec gives back: floats as the Decimal that they print as, odd keys as text."""
    if depth > _DEEPEST:
        return describe_value(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Money):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_clean(str(name)): to_plain(item, depth=depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item, depth=depth + 1) for item in value]
    return _leaf(value)


def describe_value(value: Any) -> dict[str, str]:
    """What is kept of a value that cannot be stored."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 the description may fail; the fact it describes may not
        text = f"<{type(value).__name__}>"
    return {"repr": _clean(text)}


def _leaf(value: Any) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return Decimal(repr(value)) if isfinite(value) else str(value)
    if isinstance(value, str):
        return _storable(value)
    try:
        return codec.loads(codec.dumps(value))
    except InvalidInput:
        return describe_value(value)


def _storable(text: str) -> str:
    """`text` without what no database stores: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _clean(text: str) -> str:
    cleaned = _storable(text)
    return cleaned if len(cleaned) <= _LONGEST_REPR else f"{cleaned[:_LONGEST_REPR]}..."
