"""Which memories a search may see, and the one place that builds a filter: none without whose memories it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.clock import utc_now
from agentstate.memory.tags import Where

if TYPE_CHECKING:
    from qdrant_client.http import models


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


def tenant_filter(tenants: Sequence[str]) -> models.Filter:
    """Everything of an agent, and of the shared namespaces that it may see."""
    from qdrant_client.http import models

    return models.Filter(must=[_any_of("agent_id", tenants)])


def memories_filter(tenant: str, memories: Sequence[UUID]) -> models.Filter:
    """The points of these memories of one tenant, all their chunks."""
    from qdrant_client.http import models

    ids = [str(memory) for memory in memories]
    chunk = models.FieldCondition(key="memory", match=models.MatchAny(any=ids))
    return models.Filter(
        must=tenant_filter((tenant,)).must,
        min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=list(ids)), chunk], min_count=1),
    )


def scope_filter(scope: Scope) -> models.Filter:
    """The one filter of all searches: whose memories always, the rest when asked for."""
    from qdrant_client.http import models

    must: list[Any] = [_any_of("agent_id", scope.tenants)]
    if scope.kinds:
        must.append(_any_of("kind", scope.kinds))
    if scope.session is not None:
        must.append(_any_of("session", (scope.session,)))
    must += [_any_of("tags", choices) for choices in scope.where]
    if scope.since is not None or scope.until is not None:
        within = models.DatetimeRange(gte=scope.since, lt=scope.until)
        must.append(models.FieldCondition(key="at", range=within))
    return models.Filter(must=must, must_not=_outside(scope.as_of))


def _any_of(key: str, values: Sequence[str]) -> models.FieldCondition:
    from qdrant_client.http import models

    match = models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=list(values))
    return models.FieldCondition(key=key, match=match)


def _outside(as_of: datetime | None) -> list[Any]:
    """What does not hold. As of a time in the past the durable store judges what had ended: it knows since when."""
    from qdrant_client.http import models

    begins_later = models.DatetimeRange(gt=as_of or utc_now())
    found = [models.FieldCondition(key="from", range=begins_later)]
    if as_of is None:
        found.append(models.FieldCondition(key="until", range=models.DatetimeRange(lte=utc_now())))
    return found
