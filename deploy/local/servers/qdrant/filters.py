"""Filters: which points a request is about, from the REST models to the engine's conditions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeAlias
from uuid import UUID

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.schema import refuse_options, set_fields

_LARGEST_ID = 2**64 - 1
PointId: TypeAlias = int | str | UUID
"""What the engine takes for an id; here always an integer or a UUID."""
_GEO = ("geo_bounding_box", "geo_radius", "geo_polygon")


def edge_id(value: int | str | UUID) -> PointId:
    """A point's id as the engine takes it.

    Raises:
        InvalidInput: It is neither an unsigned 64-bit integer nor a UUID.
    """
    if isinstance(value, UUID) or (isinstance(value, int) and 0 <= value <= _LARGEST_ID):
        return value
    try:
        return UUID(str(value))
    except ValueError as error:
        raise InvalidInput(
            f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        ) from error


def edge_filter(filter_: models.Filter) -> edge.Filter:
    """The engine's filter for a REST filter.

    Raises:
        InvalidInput: A condition is not supported.
    """
    return edge.Filter(
        must=_edge_conditions(filter_.must),
        should=_edge_conditions(filter_.should),
        must_not=_edge_conditions(filter_.must_not),
        min_should=None
        if filter_.min_should is None
        else edge.MinShould(_edge_conditions(filter_.min_should.conditions) or [], filter_.min_should.min_count),
    )


def optional_filter(filter_: models.Filter | None) -> edge.Filter | None:
    """The same for a filter that may be left out."""
    return None if filter_ is None else edge_filter(filter_)


def edge_condition(condition: models.Condition) -> Any:
    """The engine's condition for one REST condition.

    Raises:
        InvalidInput: It is not supported.
    """
    convert = _CONVERSIONS.get(type(condition))
    if convert is None:
        raise InvalidInput(f"The one-machine engine has no {type(condition).__name__}; express the filter without it.")
    return convert(condition)


def edge_datetime(value: datetime | date) -> str:
    """A point in time as the engine reads it; without a zone it is UTC, as on the server."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _edge_conditions(conditions: list[models.Condition] | models.Condition | None) -> list[Any] | None:
    if conditions is None:
        return None
    return [edge_condition(each) for each in (conditions if isinstance(conditions, list) else [conditions])]


def _field_condition(condition: models.FieldCondition) -> edge.FieldCondition:
    refuse_options(condition, _GEO, f"the condition on '{condition.key}'")
    if len(set_fields(condition)) == 1:
        raise InvalidInput(f"The condition on '{condition.key}' says nothing about it; give match, range or another.")
    return edge.FieldCondition(
        condition.key,
        match=_match_condition(condition.key, condition.match),
        range=_range_condition(condition.range),
        values_count=edge.ValuesCount(**set_fields(condition.values_count)) if condition.values_count else None,
        is_empty=condition.is_empty,
        is_null=condition.is_null,
    )


def _match_condition(key: str, match: models.Match | None) -> Any:
    if match is None:
        return None
    field, make = _MATCHES[type(match)]
    value = getattr(match, field)
    if isinstance(value, bool):
        # The binding turns True into 1, which equals no boolean in a payload: nothing would ever be found.
        raise InvalidInput(
            f"'{key}' cannot be matched with a boolean here; keep a keyword in it, for example 'active'."
        )
    return make(value)


def _range_condition(range_: models.Range | models.DatetimeRange | None) -> Any:
    if range_ is None:
        return None
    bounds = {name: value for name, value in range_ if value is not None}
    if isinstance(range_, models.Range):
        return edge.RangeFloat(**bounds)
    return edge.RangeDateTime(**{name: edge_datetime(value) for name, value in bounds.items()})


_MATCHES: dict[type, tuple[str, Callable[[Any], Any]]] = {
    models.MatchValue: ("value", edge.MatchValue),
    models.MatchAny: ("any", edge.MatchAny),
    models.MatchExcept: ("except_", edge.MatchExcept),
    models.MatchText: ("text", edge.MatchText),
    models.MatchTextAny: ("text_any", edge.MatchTextAny),
    models.MatchPhrase: ("phrase", edge.MatchPhrase),
    models.MatchPrefix: ("prefix", edge.MatchPrefix),
    models.MatchSubstring: ("substring", edge.MatchSubstring),
}
_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    models.FieldCondition: _field_condition,
    models.Filter: edge_filter,
    models.HasIdCondition: lambda condition: edge.HasIdCondition({edge_id(each) for each in condition.has_id}),
    models.HasVectorCondition: lambda condition: edge.HasVectorCondition(condition.has_vector),
    models.IsEmptyCondition: lambda condition: edge.IsEmptyCondition(condition.is_empty.key),
    models.IsNullCondition: lambda condition: edge.IsNullCondition(condition.is_null.key),
    models.NestedCondition: lambda condition: edge.NestedCondition(
        condition.nested.key, edge_filter(condition.nested.filter)
    ),
}
