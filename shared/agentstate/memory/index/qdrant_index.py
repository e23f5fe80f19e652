"""The index of memories in Qdrant: one collection per vector space, always searched for named tenants.

The index is a copy of the durable store and can be rebuilt at any time. A point carries what is searched and filtered
by; every text that a user reads comes from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.memory.index.collection import Space, SpaceCollections
from agentstate.memory.index.points import batch_points, payload_indexes, version_of
from agentstate.memory.index.queries import Answer, build_requests, run_requests
from agentstate.memory.search.filters import Scope, memories_filter, tenant_filter

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http import models

PAGE = 1_000
"""Points in one answer at most."""


class MemoryIndex:
    """The index of one vector space. Safe to share between threads.

    Args:
        client: Qdrant, or a function that opens it: then a process that only remembers does not pay for it.
        space: the vector space.
    """

    def __init__(self, client: QdrantClient | Callable[[], QdrantClient], space: Space) -> None:
        self.collections = SpaceCollections(client, space, payload_indexes)
        self.space = self.collections.name

    def upsert_points(self, points: Sequence[models.PointStruct], *, into: str | None = None) -> None:
        """Write points; one that is there in the same or a newer version is left alone.

        Args:
            points: see `make_points`.
            into: a collection beside the one that serves.

        Raises:
            IndexUnavailable: Qdrant does not answer; some of the points may have been written.
            InvalidInput: Qdrant refuses the points.
        """
        from qdrant_client.http import models

        with self.collections.open_ready_client() as client:
            for batch in batch_points(points):
                older = models.FieldCondition(key="version", range=models.Range(lt=version_of(batch[0])))
                client.upsert(into or self.space, points=batch, update_filter=models.Filter(must=[older]), wait=True)

    def search(
        self,
        scope: Scope,
        *,
        text: str,
        vector: list[float] | None,
        limit: int,
        meanwhile: Callable[[], None] | None = None,
    ) -> Answer:
        """Return the best memories in `scope` by vector, by words and by identifiers, in one request.

        Args:
            scope: the memories that are searched.
            text: the question, for words and identifiers.
            vector: the question's, of the index's width; None: not by vector.
            limit: how many of each.
            meanwhile: called, once, while Qdrant searches; an error that it raises is raised here.

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
        """Return how many points of `agent_id` the index holds: one a memory, more of a long one."""
        with self.collections.open_ready_client() as client:
            return client.count(self.space, count_filter=tenant_filter((agent_id,))).count

    def erase_memories(self, tenant: str, memories: Sequence[UUID]) -> tuple[int, int]:
        """Remove the points of these memories of `tenant` in every collection; return (removed, left)."""
        return self._erase(tenant, lambda _client, _collection: memories)

    def erase_unknown(self, tenant: str, *, keep: Callable[[Sequence[UUID]], set[UUID]]) -> tuple[int, int]:
        """Remove the points of `tenant` everywhere except of memories that `keep` returns; return (removed, left)."""

        def find_unknown(client: QdrantClient, collection: str) -> Sequence[UUID]:
            found = sorted(set(memories_in(client, collection, tenant_filter((tenant,)))))
            known = keep(found) if found else set()
            return [memory for memory in found if memory not in known]

        return self._erase(tenant, find_unknown)

    def _erase(self, tenant: str, choose: Callable[[QdrantClient, str], Sequence[UUID]]) -> tuple[int, int]:
        from qdrant_client.http import models

        removed = left = 0
        for name in self.collections.list_collections():
            with self.collections.open_client() as client:
                chosen = choose(client, name)
                for at in range(0, len(chosen), PAGE):
                    condition = memories_filter(tenant, chosen[at : at + PAGE])
                    if there := client.count(name, count_filter=condition).count:
                        client.delete(name, points_selector=models.FilterSelector(filter=condition), wait=True)
                        still = client.count(name, count_filter=condition).count
                        removed, left = removed + there - still, left + still
        return removed, left


def memories_in(client: QdrantClient, collection: str, condition: models.Filter | None = None) -> Iterator[UUID]:
    """Yield the memory of every point that meets `condition`, one for each point."""
    offset: Any = None
    while True:
        page, offset = client.scroll(
            collection, scroll_filter=condition, limit=PAGE, offset=offset, with_payload=["memory"]
        )
        yield from (memory_id_of(point) for point in page)
        if offset is None:
            return


def memory_id_of(point: Any) -> UUID:
    """Return the memory that a point, or a hit, belongs to."""
    return UUID(str((point.payload or {}).get("memory") or point.id))
