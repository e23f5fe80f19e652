"""The index of memories in Qdrant: one collection per vector space, and the only place that builds a filter.

The index is a copy of what the durable store holds and can be made again at any time. A point carries what is searched
and filtered on; everything a user gets to read comes from the store. No search can be asked for without an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.memory.index.collection import Space, SpaceCollections
from agentstate.memory.index.index_points import IndexPoint, batch_points, payload_indexes, point_struct
from agentstate.memory.index.queries import Answer, build_requests, run_requests
from agentstate.memory.search.scope import Scope, memories_filter, tenant_filter

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http import models

PAGE = 1_000
"""Points in one answer at most."""


class MemoryIndex:
    """The index of one vector space. Safe to share between threads.

    Args:
        client: Qdrant, or what opens it: then a process that only remembers does not pay for it.
        space: the vector space.
    """

    def __init__(self, client: QdrantClient | Callable[[], QdrantClient], space: Space) -> None:
        self.collections = SpaceCollections(client, space, payload_indexes)
        self.space = self.collections.name

    def upsert_points(self, points: Sequence[IndexPoint], *, into: str | None = None) -> None:
        """Write points; one that is there in the same or a newer version is left alone.

        Args:
            points: what to write.
            into: a collection beside the one that serves.

        Raises:
            IndexUnavailable: Qdrant does not answer; some of the points may have been written.
            InvalidInput: Qdrant refuses the points.
        """
        with self.collections.open_ready_client() as client:
            for batch in batch_points(points):
                _upsert(client, into or self.space, batch)

    def search(
        self,
        scope: Scope,
        *,
        text: str,
        vector: list[float] | None,
        limit: int,
        meanwhile: Callable[[], None] | None = None,
    ) -> Answer:
        """The best memories in `scope` by vector, by words and by identifiers, in one request.

        Args:
            scope: which memories are searched.
            text: the question, for words and identifiers.
            vector: the question's, of the index's width; None: not by vector.
            limit: how many of each.
            meanwhile: called, once, while Qdrant searches; what it raises is raised here.

        Raises:
            IndexUnavailable: Qdrant does not answer; `meanwhile` may not have been called.
        """
        asked = build_requests(scope, text, vector, limit)
        if asked:
            with self.collections.open_ready_client() as client:
                return run_requests(client, self.space, asked, meanwhile)
        if meanwhile is not None:
            meanwhile()
        return Answer({}, space=self.space)

    def count_points(self, agent_id: str) -> int:
        """How many points of `agent_id` the index holds: one a memory, more of a long one."""
        with self.collections.open_ready_client() as client:
            return client.count(self.space, count_filter=tenant_filter((agent_id,))).count

    def erase_memories(self, tenant: str, memories: Sequence[UUID]) -> tuple[int, int]:
        """Remove the points of these memories of `tenant` in every collection; how many, and how many are left."""
        removed = left = 0
        for name in self.collections.list_collections():
            with self.collections.open_client() as client:
                removed, left = _plus((removed, left), _erase(client, name, tenant, memories))
        return removed, left

    def erase_unknown(self, tenant: str, *, keep: Callable[[Sequence[UUID]], set[UUID]]) -> tuple[int, int]:
        """Remove the points of `tenant` whose memories `keep` does not name, in every collection; as `erase`."""
        removed = left = 0
        for name in self.collections.list_collections():
            with self.collections.open_client() as client:
                found = set(memories_in(client, name, tenant_filter((tenant,))))
                gone = sorted(found - keep(sorted(found))) if found else []
                for at in range(0, len(gone), PAGE):
                    removed, left = _plus((removed, left), _erase(client, name, tenant, gone[at : at + PAGE]))
        return removed, left


def memories_in(client: QdrantClient, collection: str, condition: models.Filter | None = None) -> Iterator[UUID]:
    """The memories of all points that meet `condition`, one for each point."""
    offset: Any = None
    while True:
        page, offset = client.scroll(
            collection, scroll_filter=condition, limit=PAGE, offset=offset, with_payload=["memory"]
        )
        yield from (memory_id_of(point) for point in page)
        if offset is None:
            return


def _erase(client: QdrantClient, collection: str, tenant: str, memories: Sequence[UUID]) -> tuple[int, int]:
    from qdrant_client.http import models

    condition = memories_filter(tenant, memories)
    there = client.count(collection, count_filter=condition).count
    if there:
        client.delete(collection, points_selector=models.FilterSelector(filter=condition), wait=True)
    left = client.count(collection, count_filter=condition).count if there else 0
    return there - left, left


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def memory_id_of(point: Any) -> UUID:
    """The memory that a point, or a hit, belongs to."""
    return UUID(str((point.payload or {}).get("memory") or point.id))


def _upsert(client: QdrantClient, collection: str, points: Sequence[IndexPoint]) -> None:
    from qdrant_client.http import models

    newest = max(point.version for point in points)
    older = models.FieldCondition(key="version", range=models.Range(lt=newest))
    structs = [point_struct(point) for point in points]
    client.upsert(collection, points=structs, update_filter=models.Filter(must=[older]), wait=True)
