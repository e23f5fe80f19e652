"""Which memories a search may see, and the one place that builds a filter: none without whose memories it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.clock import utc_now
from agentstate.memory.search.tags import Where

if TYPE_CHECKING:
    from qdrant_client.http import models

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which memories a search may see."""

    agent_id: str
    kinds: tuple[str, ...] = ()
    """Any of these; all when empty."""
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    """What was held for true then; None: what is held for true now."""
    where: Where = ()
    """Conditions on the metadata."""
    shared: tuple[str, ...] = ()
    """Tenants of the shared namespaces that are searched too; that the agent may was checked."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose memories are seen."""
        return (self.agent_id, *self.shared)


def tenant_json(tenants: Sequence[str]) -> Json:
    """Everything of an agent, and of the shared namespaces that it may see, as Qdrant writes it."""
    return {"must": [_any_of("agent_id", tenants)]}


def tenant_filter(tenants: Sequence[str]) -> models.Filter:
    """The same for the client."""
    from qdrant_client.http import models

    return models.Filter.model_validate(tenant_json(tenants))


def memories_filter(tenant: str, memories: Sequence[UUID]) -> models.Filter:
    """The points of these memories of one tenant, all their chunks."""
    from qdrant_client.http import models

    ids = [str(memory) for memory in memories]
    chunk = models.FieldCondition(key="memory", match=models.MatchAny(any=ids))
    return models.Filter(
        must=tenant_filter((tenant,)).must,
        min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=list(ids)), chunk], min_count=1),
    )


def scope_json(scope: Scope) -> Json:
    """The one filter of all searches: whose memories always, the rest when asked for. As Qdrant writes it."""
    must = tenant_json(scope.tenants)["must"]
    if scope.kinds:
        must.append(_any_of("kind", scope.kinds))
    if scope.session is not None:
        must.append(_any_of("session", (scope.session,)))
    must += [_any_of("tags", choices) for choices in scope.where]
    within = {
        name: moment.isoformat() for name, moment in (("gte", scope.since), ("lt", scope.until)) if moment is not None
    }
    if within:
        must.append({"key": "at", "range": within})
    return {"must": must, "must_not": _outside(scope.as_of)}


def _any_of(key: str, values: Sequence[str]) -> Json:
    return {"key": key, "match": {"value": values[0]} if len(values) == 1 else {"any": list(values)}}


def _outside(as_of: datetime | None) -> list[Json]:
    """What does not hold. As of a time in the past the durable store judges what had ended: it knows since when."""
    moment = (as_of or utc_now()).isoformat()
    found: list[Json] = [{"key": "from", "range": {"gt": moment}}]
    return found if as_of is not None else [*found, {"key": "until", "range": {"lte": moment}}]
