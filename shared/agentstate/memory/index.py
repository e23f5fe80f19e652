"""The index of memories in Qdrant: one collection per vector space, and the only place that builds a filter.

The index is a copy of what the durable store holds and can be made again at any time. A point carries what is searched
and filtered on; everything a user gets to read comes from the store. No search can be asked for without an agent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from agentstate.errors import IndexUnavailable, InvalidInput

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http import models

VECTOR = "dense"
TEXT = "text"
BATCH_BYTES = 4_000_000
"""Text and vectors in one request at most; servers refuse bodies over 32 MB."""

_HTTP_CONFLICT = 409
_HTTP_NOT_FOUND = 404
_HTTP_TOO_MANY = 429
_HTTP_SERVER = 500


class Space(Protocol):
    """Where vectors are comparable; see `agentstate.providers.embedder.VectorSpace`."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        ...

    @property
    def dimensions(self) -> int:
        """Width of a vector; 0 when the space has none."""
        ...


@dataclass(frozen=True, kw_only=True)
class IndexPoint:
    """One memory as the index holds it."""

    id: UUID
    agent_id: str
    kind: str
    text: str
    version: int
    at: datetime
    session: str | None = None
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


Found = list[tuple[UUID, float]]
"""(memory, score), best first."""


class MemoryIndex:
    """One vector space's collection. Safe to share between threads.

    Args:
        client: Qdrant, or what opens it: then a process that only remembers does not pay for it.
        space: the vector space.
    """

    def __init__(self, client: QdrantClient | Callable[[], QdrantClient], space: Space) -> None:
        self._connect: Callable[[], QdrantClient] = client if callable(client) else lambda: client
        self.collection = space.collection
        self._dimensions = space.dimensions
        self._ready_in: int | None = None

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Write points; one that is there in the same or a newer version is left alone.

        Raises:
            IndexUnavailable: Qdrant does not answer; some of the points may have been written.
            InvalidInput: Qdrant refuses the points.
        """
        with self._translated():
            self._ensure()
            for batch in _batches(points):
                self._upsert(batch)

    def search(self, scope: Scope, *, text: str, vector: list[float] | None, limit: int) -> dict[str, Found]:
        """The best `limit` memories in `scope` by vector and by words, in one request.

        Returns:
            `{"dense": ..., "keyword": ...}`; without `vector` only the latter.

        Raises:
            IndexUnavailable: Qdrant does not answer.
        """
        arms = {"dense": self._by_vector(scope, vector, limit)} if vector is not None else {}
        arms["keyword"] = self._by_words(scope, text, limit)
        with self._translated():
            self._ensure()
            answers = self._client.query_batch_points(self.collection, requests=list(arms.values()))
        found = [[(UUID(str(point.id)), point.score) for point in answer.points] for answer in answers]
        return dict(zip(arms, found, strict=True))

    def count(self, agent_id: str) -> int:
        """How many memories of `agent_id` the index holds."""
        with self._translated():
            self._ensure()
            return self._client.count(self.collection, count_filter=_filter(Scope(agent_id=agent_id))).count

    @property
    def _client(self) -> QdrantClient:
        return self._connect()

    def _upsert(self, points: Sequence[IndexPoint]) -> None:
        from qdrant_client.http import models

        newest = max(point.version for point in points)
        older = models.FieldCondition(key="version", range=models.Range(lt=newest))
        self._client.upsert(
            self.collection,
            points=[_struct(point) for point in points],
            update_filter=models.Filter(must=[older]),
            wait=True,
        )

    def _by_vector(self, scope: Scope, vector: list[float], limit: int) -> models.QueryRequest:
        from qdrant_client.http import models

        return models.QueryRequest(query=vector, using=VECTOR, filter=_filter(scope), limit=limit, with_payload=False)

    def _by_words(self, scope: Scope, text: str, limit: int) -> models.QueryRequest:
        from qdrant_client.http import models

        # How rare a word is counts within this agent's memories, whatever others talk about.
        corpus = models.IdfCorpusParams(corpus=_filter(Scope(agent_id=scope.agent_id)))
        return models.QueryRequest(
            query=models.TextQuery(text=text),
            using=TEXT,
            filter=_filter(scope),
            params=models.SearchParams(idf=corpus),
            limit=limit,
            with_payload=False,
        )

    def _ensure(self) -> None:
        """Make the collection when it is not there. Every process asks once, and two at a time do no harm."""
        if self._ready_in == os.getpid():
            return
        if not self._client.collection_exists(self.collection):
            self._create()
        for field, schema in _indexes():
            self._client.create_payload_index(self.collection, field, field_schema=schema, wait=True)
        self._ready_in = os.getpid()

    def _create(self) -> None:
        from qdrant_client.http import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        vector = models.VectorParams(size=max(self._dimensions, 1), distance=models.Distance.COSINE)
        try:
            self._client.create_collection(
                self.collection,
                vectors_config={VECTOR: vector},
                # No graph over all agents: every search is one agent's.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
            )
        except UnexpectedResponse as error:
            if error.status_code != _HTTP_CONFLICT:
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except UnexpectedResponse as error:
            raise self._refusal(error.status_code or 0, str(error)) from error
        except (ResponseHandlingException, QdrantException) as error:
            raise IndexUnavailable(f"Qdrant does not answer ({error}); memories are kept and indexed later.") from error

    def _refusal(self, status: int, text: str) -> IndexUnavailable | InvalidInput:
        said = " ".join(text.split())[:300]
        if status == _HTTP_NOT_FOUND:
            # Somebody removed the collection: the next call makes it anew.
            self._ready_in = None
        if status in {_HTTP_NOT_FOUND, _HTTP_TOO_MANY} or status >= _HTTP_SERVER or status in {401, 403}:
            return IndexUnavailable(f"Qdrant cannot serve {self.collection}: {said}. Memories are kept.")
        return InvalidInput(f"Qdrant refused a request for {self.collection}: {said}")


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
    }
    if point.session is not None:
        payload["session"] = point.session
    vector: dict[str, Any] = {} if point.vector is None else {VECTOR: point.vector}
    return models.PointStruct(id=str(point.id), vector=vector, payload=payload)


def _filter(scope: Scope) -> models.Filter:
    """The one filter of all searches: the agent always, the rest when asked for."""
    from qdrant_client.http import models

    wanted = {"agent_id": scope.agent_id, "kind": scope.kind, "session": scope.session}
    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in wanted.items()
        if value is not None
    ]
    if scope.since is not None or scope.until is not None:
        within = models.DatetimeRange(gte=scope.since, lt=scope.until)
        must.append(models.FieldCondition(key="at", range=within))
    return models.Filter(must=must)


def _indexes() -> list[tuple[str, Any]]:
    """Payload indexes, the tenant's first: links within one agent are made as points come in."""
    from qdrant_client.http import models

    keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
    english = models.SnowballParams(type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH)
    return [
        ("agent_id", keyword.model_copy(update={"is_tenant": True})),
        ("kind", keyword),
        ("session", keyword),
        ("at", models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME)),
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
