"""Conversion to plain values, shared by both formats: unsupported types are replaced, inexact values refused.

Most of what is stored is plain already, so a container is copied only where something in it is replaced, and the
encoder, which is in C, then sees plain types alone. The walk is most of what encoding costs: it looks at exact types,
the frequent ones first, and scalars the rest, and every subclass, to the format's own rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from agentstate.state import scalars

TAG = "$"
"""A dict with this one key looks like a tag of the JSON format."""


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
                    scalars.check_keys(item)
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
