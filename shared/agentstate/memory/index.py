"""The index of memories in Qdrant: one collection per vector space, and the only place that builds a filter.

The index is a copy of what the durable store holds and can be made again at any time. A point carries what is searched
and filtered on; everything a user gets to read comes from the store. No search can be asked for without an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.clock import utc_now
from agentstate.memory.collection import TEXT, VECTOR, Collection, Space
from agentstate.memory.records import USUAL_IMPORTANCE

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http import models

BATCH_BYTES = 4_000_000
"""Text and vectors in one request at most; servers refuse bodies over 32 MB."""
PAGE = 1_000
"""Points in one answer at most."""


@dataclass(frozen=True, kw_only=True)
class IndexPoint:
    """One memory as the index holds it, or one chunk of a long one."""

    id: UUID
    agent_id: str
    """Whose it is: an agent, or `/` and the name of a shared namespace."""
    kind: str
    text: str
    version: int
    at: datetime
    session: str | None = None
    memory: UUID | None = None
    """The memory of which this is a later chunk; None for the first, whose id is the memory's own."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """When it ended, or the next statement on its subject began."""
    importance: int = USUAL_IMPORTANCE
    vector: list[float] | None = None
    """None while there is no model: the memory is found by its words."""

    @property
    def size(self) -> int:
        """About how many bytes it takes on the wire."""
        return len(self.text.encode()) + 12 * len(self.vector or ()) + 300


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which memories a search may see."""

    agent_id: str
    kind: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    """What was held for true then; None: what is held for true now."""
    shared: tuple[str, ...] = ()
    """Tenants of the shared namespaces that are searched too; that the agent may was checked."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose memories are seen."""
        return (self.agent_id, *self.shared)


Found = list[tuple[UUID, float]]
"""(memory, score), best first."""


class MemoryIndex:
    """The index of one vector space. Safe to share between threads.

    Args:
        client: Qdrant, or what opens it: then a process that only remembers does not pay for it.
        space: the vector space.
    """

    def __init__(self, client: QdrantClient | Callable[[], QdrantClient], space: Space) -> None:
        self.place = Collection(client, space, _indexes)
        self.collection = self.place.name

    def upsert(self, points: Sequence[IndexPoint], *, into: str | None = None) -> None:
        """Write points; one that is there in the same or a newer version is left alone.

        Args:
            points: what to write.
            into: a collection beside the one that serves.

        Raises:
            IndexUnavailable: Qdrant does not answer; some of the points may have been written.
            InvalidInput: Qdrant refuses the points.
        """
        with self.place.reached() as client:
            for batch in _batches(points):
                _upsert(client, into or self.collection, batch)

    def search(self, scope: Scope, *, text: str, vector: list[float] | None, limit: int) -> dict[str, Found]:
        """The best `limit` memories in `scope` by vector and by words, in one request.

        Returns:
            `{"dense": ..., "keyword": ...}`; without `vector` only the latter.

        Raises:
            IndexUnavailable: Qdrant does not answer.
        """
        arms = {"dense": self._by_vector(scope, vector, limit)} if vector is not None else {}
        arms["keyword"] = self._by_words(scope, text, limit)
        with self.place.reached() as client:
            answers = client.query_batch_points(self.collection, requests=list(arms.values()))
        return dict(zip(arms, (_best_chunks(answer.points) for answer in answers), strict=True))

    def count(self, agent_id: str) -> int:
        """How many points of `agent_id` the index holds: one a memory, more of a long one."""
        with self.place.reached() as client:
            return client.count(self.collection, count_filter=_tenant_filter((agent_id,))).count

    def erase(self, tenant: str, memories: Sequence[UUID]) -> tuple[int, int]:
        """Remove the points of these memories of `tenant` in every collection; how many, and how many are left."""
        removed = left = 0
        for name in self.place.all():
            with self.place.translated() as client:
                removed, left = _plus((removed, left), _erase(client, name, tenant, memories))
        return removed, left

    def erase_all(self, tenant: str, *, keep: Callable[[Sequence[UUID]], set[UUID]]) -> tuple[int, int]:
        """Remove the points of `tenant` whose memories `keep` does not name, in every collection; as `erase`."""
        removed = left = 0
        for name in self.place.all():
            with self.place.translated() as client:
                found = set(memories_in(client, name, _tenant_filter((tenant,))))
                gone = sorted(found - keep(sorted(found))) if found else []
                for at in range(0, len(gone), PAGE):
                    removed, left = _plus((removed, left), _erase(client, name, tenant, gone[at : at + PAGE]))
        return removed, left

    def _by_vector(self, scope: Scope, vector: list[float], limit: int) -> models.QueryRequest:
        from qdrant_client.http import models

        return models.QueryRequest(
            query=vector, using=VECTOR, filter=_filter(scope), limit=limit, with_payload=["memory"]
        )

    def _by_words(self, scope: Scope, text: str, limit: int) -> models.QueryRequest:
        from qdrant_client.http import models

        # How rare a word is counts within this agent's memories, whatever others talk about.
        corpus = models.IdfCorpusParams(corpus=_tenant_filter(scope.tenants))
        return models.QueryRequest(
            query=models.TextQuery(text=text),
            using=TEXT,
            filter=_filter(scope),
            params=models.SearchParams(idf=corpus),
            limit=limit,
            with_payload=["memory"],
        )


def memories_in(client: QdrantClient, collection: str, condition: models.Filter | None = None) -> Iterator[UUID]:
    """The memories of all points that meet `condition`, one for each point."""
    offset: Any = None
    while True:
        page, offset = client.scroll(
            collection, scroll_filter=condition, limit=PAGE, offset=offset, with_payload=["memory"]
        )
        yield from (memory_of(point) for point in page)
        if offset is None:
            return


def _erase(client: QdrantClient, collection: str, tenant: str, memories: Sequence[UUID]) -> tuple[int, int]:
    from qdrant_client.http import models

    condition = _of_memories(tenant, memories)
    there = client.count(collection, count_filter=condition).count
    if there:
        client.delete(collection, points_selector=models.FilterSelector(filter=condition), wait=True)
    left = client.count(collection, count_filter=condition).count if there else 0
    return there - left, left


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def memory_of(point: Any) -> UUID:
    """The memory that a point, or a hit, belongs to."""
    return UUID(str((point.payload or {}).get("memory") or point.id))


def _best_chunks(points: Iterable[Any]) -> Found:
    """Each memory once, with its best chunk's score."""
    best: dict[UUID, float] = {}
    for point in points:
        best.setdefault(memory_of(point), point.score)
    return list(best.items())


def _upsert(client: QdrantClient, collection: str, points: Sequence[IndexPoint]) -> None:
    from qdrant_client.http import models

    newest = max(point.version for point in points)
    older = models.FieldCondition(key="version", range=models.Range(lt=newest))
    structs = [_struct(point) for point in points]
    client.upsert(collection, points=structs, update_filter=models.Filter(must=[older]), wait=True)


def _batches(points: Sequence[IndexPoint]) -> Iterator[list[IndexPoint]]:
    # Points of one version at a time, so that one condition tells for all of them whether what is there is older.
    batch: list[IndexPoint] = []
    size = 0
    for point in sorted(points, key=lambda point: point.version):
        if batch and (size + point.size > BATCH_BYTES or point.version != batch[0].version):
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += point.size
    if batch:
        yield batch


def _struct(point: IndexPoint) -> models.PointStruct:
    from qdrant_client.http import models

    payload: dict[str, Any] = {
        "agent_id": point.agent_id,
        "kind": point.kind,
        TEXT: point.text,
        "version": point.version,
        "at": point.at.isoformat(),
        "importance": point.importance,
    }
    optional = {
        "session": point.session,
        "memory": None if point.memory is None else str(point.memory),
        "from": None if point.valid_from is None else point.valid_from.isoformat(),
        "until": None if point.valid_until is None else point.valid_until.isoformat(),
    }
    payload |= {name: value for name, value in optional.items() if value is not None}
    vector: dict[str, Any] = {} if point.vector is None else {VECTOR: point.vector}
    return models.PointStruct(id=str(point.id), vector=vector, payload=payload)


def _tenant_filter(tenants: Sequence[str]) -> models.Filter:
    """Everything of an agent, and of the shared namespaces that it may see."""
    from qdrant_client.http import models

    match = models.MatchValue(value=tenants[0]) if len(tenants) == 1 else models.MatchAny(any=list(tenants))
    return models.Filter(must=[models.FieldCondition(key="agent_id", match=match)])


def _of_memories(tenant: str, memories: Sequence[UUID]) -> models.Filter:
    from qdrant_client.http import models

    ids = [str(memory) for memory in memories]
    chunk = models.FieldCondition(key="memory", match=models.MatchAny(any=ids))
    return models.Filter(
        must=_tenant_filter((tenant,)).must,
        min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=list(ids)), chunk], min_count=1),
    )


def _filter(scope: Scope) -> models.Filter:
    """The one filter of all searches: whose memories always, the rest when asked for."""
    from qdrant_client.http import models

    wanted = {"kind": scope.kind, "session": scope.session}
    must: list[Any] = [*_tenant_filter(scope.tenants).must]  # type: ignore[misc] # a list, as made there
    must += [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in wanted.items()
        if value is not None
    ]
    if scope.since is not None or scope.until is not None:
        within = models.DatetimeRange(gte=scope.since, lt=scope.until)
        must.append(models.FieldCondition(key="at", range=within))
    return models.Filter(must=must, must_not=_outside(scope.as_of))


def _outside(as_of: datetime | None) -> list[Any]:
    """What does not hold. As of a time in the past the durable store judges what had ended: it knows since when."""
    from qdrant_client.http import models

    begins_later = models.DatetimeRange(gt=as_of or utc_now())
    found = [models.FieldCondition(key="from", range=begins_later)]
    if as_of is None:
        found.append(models.FieldCondition(key="until", range=models.DatetimeRange(lte=utc_now())))
    return found


def _indexes() -> list[tuple[str, Any]]:
    """Payload indexes, the tenant's first: links within one agent are made as points come in."""
    from qdrant_client.http import models

    keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
    english = models.SnowballParams(type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH)
    return [
        ("agent_id", keyword.model_copy(update={"is_tenant": True})),
        ("memory", keyword),
        ("kind", keyword),
        ("session", keyword),
        *(
            (name, models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME))
            for name in ("at", "from", "until")
        ),
        ("version", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)),
        (
            TEXT,
            models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.WORD,
                lowercase=True,
                stemmer=english,
                stopwords=models.Language.ENGLISH,
                scoring=True,
            ),
        ),
    ]
