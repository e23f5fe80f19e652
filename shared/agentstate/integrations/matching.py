"""What LangGraph's filters ask of a value, and its conditions of a namespace."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import MatchCondition

from agentstate.errors import InvalidInput

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def meets_filter(value: Any, wanted: Mapping[str, Any] | None) -> bool:
    """Whether a value has what a filter asks for: equal parts, or `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`.

    Raises:
        InvalidInput: an operator is unknown.
    """
    return all(_fits(value.get(key), each) for key, each in (wanted or {}).items())


def matches_namespace(namespace: Sequence[str], condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends as a condition says; `*` is any label."""
    path = condition.path
    if len(namespace) < len(path):
        return False
    labels = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in {"*", label} for label, wanted in zip(labels, path, strict=True))


def _fits(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_compared(found, name, limit) for name, limit in wanted.items())
        return isinstance(found, Mapping) and meets_filter(found, wanted)
    if isinstance(wanted, list | tuple):
        same_length = isinstance(found, list | tuple) and len(found) == len(wanted)
        return same_length and all(_fits(one, other) for one, other in zip(found, wanted, strict=True))
    return bool(found == wanted)


def _compared(found: Any, name: str, limit: Any) -> bool:
    if name in {"$eq", "$ne"}:
        return bool(found == limit) is (name == "$eq")
    if name not in _ORDER:
        raise InvalidInput(f"the operator {name!r} is unknown; use $eq, $ne, $gt, $gte, $lt or $lte.")
    try:
        return _ORDER[name](float(found), float(limit))
    except (TypeError, ValueError):
        return False
