"""Metadata as the index and a filter see it: one text for a key with a value, which either is the same or is not.

Only plain values can be asked for: text, numbers, truth, times, ids, and each of a list of such. Equal numbers are the
same tag however they are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from agentstate.errors import InvalidInput

Where = tuple[tuple[str, ...], ...]
"""Conditions that must all hold; each names the tags of which a memory must have one."""

MAX_CONDITIONS = 20
MAX_VALUES = 100
_LONGEST = 200


def metadata_tags(metadata: Mapping[str, Any] | None) -> list[str]:
    """The tags of a memory with this metadata, sorted."""
    return sorted({tag for key, value in (metadata or {}).items() for tag in _of(key, value)})


def parse_where(conditions: Mapping[str, Any] | None) -> Where:
    """What `{"asset": "USDC", "venue": ["casino", "bank"]}` asks for: a list is any of its values.

    Raises:
        InvalidInput: a value that cannot be asked for, none, or too many.
    """
    if not isinstance(conditions, Mapping | None):
        raise InvalidInput(f"where is {type(conditions).__name__}; give a dict of metadata keys and values.")
    if conditions and len(conditions) > MAX_CONDITIONS:
        raise InvalidInput(f"where has {len(conditions)} conditions; at most {MAX_CONDITIONS} are served.")
    return tuple(_any_of(key, value) for key, value in (conditions or {}).items())


def meets_where(metadata: Mapping[str, Any] | None, wanted: Where) -> bool:
    """Whether a memory with this metadata meets all conditions."""
    held = set(metadata_tags(metadata)) if wanted else set[str]()
    return all(held.intersection(choices) for choices in wanted)


def _any_of(key: str, value: Any) -> tuple[str, ...]:
    values = list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else [value]
    found = [tag for each in values if not isinstance(each, list | tuple) for tag in _of(key, each)]
    if len(found) != len(values) or not 1 <= len(found) <= MAX_VALUES:
        raise InvalidInput(
            f"where[{str(key)[:40]!r}] asks for {str(value)[:40]!r}; give text, a whole or exact number, a truth "
            f"value, a time or an id, or a list of 1 to {MAX_VALUES} of these."
        )
    return tuple(found)


def _of(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for each in value:
            if not isinstance(each, list | tuple):
                yield from _of(key, each)
        return
    text = _text(value)
    if text is not None:
        tag = f"{key}={text}"
        # Equality is all that is asked of it, so a long one may be told by its digest.
        yield tag if len(tag) <= _LONGEST else f"#{hashlib.sha256(tag.encode()).hexdigest()}"


def _text(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            plain = f"{value:f}"
            return plain.rstrip("0").rstrip(".") if "." in plain else plain
        case datetime():
            return value.astimezone(UTC).isoformat() if value.tzinfo else None
        case str() | UUID():
            return str(value)
    return None
