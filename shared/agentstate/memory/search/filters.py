"""The filters of a search: which tenants, kinds, times and metadata it may see, for the index and for plain values.

This is the one place that builds a filter for the index: there is none without its tenants. Metadata is compared as
tags, one text for a key with a value and its type, which either is the same or is not. Only plain values can be asked
for: text, numbers, truth values, times, ids, and lists of these. Equal numbers give the same tag however they are
written; `True`, `"true"` and `1` are three values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.clock import utc_now
from agentstate.errors import InvalidInput
from agentstate.ids import shorten_repr

if TYPE_CHECKING:
    from qdrant_client.http import models

Json = dict[str, Any]
Where = tuple[tuple[str, ...], ...]
"""Conditions that must all hold; each names the tags of which a memory must have one."""

MAX_CONDITIONS = 20
MAX_VALUES = 100
MAX_DIGITS = 1_000
MAX_INTEGER = 10**MAX_DIGITS
"""Numbers beyond are no values that can be asked for."""
_LONGEST_TAG = 200


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The memories that a search may see."""

    agent_id: str
    kinds: tuple[str, ...] = ()
    """Any of these; all when empty."""
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    """Memories that were held for true then; None: now."""
    where: Where = ()
    """Conditions on the metadata."""
    shared: tuple[str, ...] = ()
    """Tenants of the shared namespaces that are searched too; access to them was checked."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """The owners of the memories that are searched."""
        return (self.agent_id, *self.shared)


def tenant_json(tenants: Sequence[str]) -> Json:
    """Return the filter for all memories of `tenants`, as Qdrant writes it."""
    return {"must": [_match_any("agent_id", tenants)]}


def tenant_filter(tenants: Sequence[str]) -> models.Filter:
    """Return the filter for all memories of `tenants`, as a model of the client."""
    from qdrant_client.http import models

    return models.Filter.model_validate(tenant_json(tenants))


def memories_filter(tenant: str, memories: Sequence[UUID]) -> models.Filter:
    """Return the filter for the points of these memories of one tenant, all their chunks."""
    from qdrant_client.http import models

    ids = [str(memory) for memory in memories]
    chunk = models.FieldCondition(key="memory", match=models.MatchAny(any=ids))
    return models.Filter(
        must=tenant_filter((tenant,)).must,
        min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=list(ids)), chunk], min_count=1),
    )


def scope_json(scope: Scope) -> Json:
    """Return the filter for `scope`, its tenants always, as Qdrant writes it."""
    must = tenant_json(scope.tenants)["must"]
    if scope.kinds:
        must.append(_match_any("kind", scope.kinds))
    if scope.session is not None:
        must.append(_match_any("session", (scope.session,)))
    must += [_match_any("tags", choices) for choices in scope.where]
    within = {
        name: moment.isoformat() for name, moment in (("gte", scope.since), ("lt", scope.until)) if moment is not None
    }
    if within:
        must.append({"key": "at", "range": within})
    # As of a time in the past the durable store judges which memories had ended: it knows since when.
    moment = (scope.as_of or utc_now()).isoformat()
    outside: list[Json] = [{"key": "from", "range": {"gt": moment}}]
    if scope.as_of is None:
        outside.append({"key": "until", "range": {"lte": moment}})
    return {"must": must, "must_not": outside}


def metadata_tags(metadata: Mapping[str, Any] | None) -> list[str]:
    """Return the tags of a memory with this metadata, sorted."""
    return sorted({tag for key, value in (metadata or {}).items() for tag in _value_tags(key, value)})


def parse_where(conditions: Mapping[str, Any] | None) -> Where:
    """Return the conditions of `{"asset": "USDC", "venue": ["casino", "bank"]}`; a list means any of its values.

    Raises:
        InvalidInput: a value that cannot be asked for, none, or too many.
    """
    if not isinstance(conditions, Mapping | None):
        raise InvalidInput(f"where is {shorten_repr(conditions)}; give a dict of metadata keys and values.")
    if conditions and len(conditions) > MAX_CONDITIONS:
        raise InvalidInput(
            f"where has {len(conditions)} conditions; at most {MAX_CONDITIONS} are served; leave some out."
        )
    wanted = []
    for key, value in (conditions or {}).items():
        if not isinstance(key, str):
            raise InvalidInput(f"where has the key {shorten_repr(key)}; give the name of a metadata field, a text.")
        is_list = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
        values = list(value) if is_list else [value]
        found = [tag for each in values if not isinstance(each, list | tuple) for tag in _value_tags(key, each)]
        if len(found) != len(values) or not 1 <= len(found) <= MAX_VALUES:
            raise InvalidInput(
                f"where[{shorten_repr(key)}] asks for {shorten_repr(value)}; give text, a whole or exact number, "
                f"a truth value, a time or an id, or a list of 1 to {MAX_VALUES} of these."
            )
        wanted.append(tuple(found))
    return tuple(wanted)


def meets_where(metadata: Mapping[str, Any] | None, wanted: Where) -> bool:
    """Return whether a memory with this metadata meets all conditions."""
    held = set(metadata_tags(metadata)) if wanted else set[str]()
    return all(held.intersection(choices) for choices in wanted)


def _match_any(key: str, values: Sequence[str]) -> Json:
    return {"key": key, "match": {"value": values[0]} if len(values) == 1 else {"any": list(values)}}


def _value_tags(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for each in value:
            if not isinstance(each, list | tuple):
                yield from _value_tags(key, each)
        return
    text: str | None = None
    match value:
        case bool():
            text = "b:true" if value else "b:false"
        case str():
            text = f"s:{value}"
        case UUID():
            text = f"u:{value}"
        case int() if abs(value) < MAX_INTEGER:
            text = f"n:{value}"
        case Decimal() if value.is_finite() and abs(value.adjusted()) < MAX_DIGITS:
            text = f"{value:f}"
            text = "n:" + (text.rstrip("0").rstrip(".") if "." in text else text)
        case datetime() if value.utcoffset() is not None:
            with suppress(OverflowError):
                text = f"t:{value.astimezone(UTC).isoformat()}"
    if text is not None:
        # The sign between them is in no key, so that no other key with another value gives the same tag.
        tag = f"{key.replace('%', '%25').replace('=', '%3D')}={text}"
        # Equality is all that is asked of it, so a long one may be represented by its digest.
        with suppress(UnicodeEncodeError):  # half a surrogate pair cannot be stored, so nothing has it
            digest = hashlib.sha256(tag.encode()).hexdigest()
            yield tag if len(tag) <= _LONGEST_TAG else f"#{digest}"
