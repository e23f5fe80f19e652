"""Collections in Qdrant: how they are made, and the alias under which the one of a vector space is reached.

The name of a space is an alias; behind it stands a collection with a number, `<space>--1`, so that the next number can
be filled while the present one is searched, and the alias then changes hands in one step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from agentstate.errors import IndexUnavailable, InvalidInput

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

VECTOR = "dense"
WORDS = "words"
"""Sparse: the weight of each term; how rare a term is multiplies it when a query is asked."""
IDENTIFIERS = "identifiers"
"""Sparse: each identifier once."""
PREFIX = "memories-"
"""Begins the names of all our collections."""

_GENERATION = re.compile(r"--(\d+)\Z")
_HTTP_CONFLICT = 409
_HTTP_NOT_FOUND = 404
_HTTP_TOO_MANY = 429
_HTTP_SERVER = 500


class Space(Protocol):
    """Where vectors are comparable; see `agentstate.providers.embedding.embedder.VectorSpace`."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        ...

    @property
    def dimensions(self) -> int:
        """Width of a vector; 0 when the space has none."""
        ...


class SpaceCollections:
    """One vector space's collection. Safe to share between threads.

    Args:
        client: Qdrant, or what opens it: then a process that only remembers does not pay for it.
        space: the vector space.
        indexes: makes the payload indexes, by field.
    """

    def __init__(
        self,
        client: QdrantClient | Callable[[], QdrantClient],
        space: Space,
        indexes: Callable[[], Sequence[tuple[str, Any]]],
    ) -> None:
        self._connect: Callable[[], QdrantClient] = client if callable(client) else lambda: client
        self.name = space.collection
        self._dimensions = space.dimensions
        self._indexes = indexes
        self._ready_in: int | None = None

    @property
    def client(self) -> QdrantClient:
        """Qdrant."""
        return self._connect()

    @contextmanager
    def open_ready_client(self) -> Iterator[QdrantClient]:
        """Qdrant with the collection in place, its failures in our terms.

        Raises:
            IndexUnavailable: Qdrant does not answer, or the collection was just removed. InvalidInput: it refuses.
        """
        with self.open_client() as client:
            self._ensure(client)
            yield client

    @contextmanager
    def open_client(self) -> Iterator[QdrantClient]:
        """Qdrant, its failures in our terms; raises as `reached`."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield self.client
        except UnexpectedResponse as error:
            raise self._refusal(error.status_code or 0, str(error)) from error
        except (ResponseHandlingException, QdrantException) as error:
            raise IndexUnavailable(f"Qdrant does not answer ({error}); memories are kept and indexed later.") from error

    def current_collection(self) -> str | None:
        """The collection that serves now; None when there is none yet."""
        with self.open_client() as client:
            return self._current_collection(client)

    def list_collections(self) -> list[str]:
        """All collections with memories, of every space, those that are being filled included."""
        with self.open_client() as client:
            names = [found.name for found in client.get_collections().collections]
        return [name for name in names if name.startswith(PREFIX)]

    def list_generations(self) -> list[str]:
        """All collections of this space, those that are being filled included."""
        return sorted(
            (name for name in self.list_collections() if _GENERATION.sub("", name) == self.name), key=_generation_number
        )

    def create_next(self) -> str:
        """Make an empty collection beside the one that serves; its name."""
        name = f"{self.name}--{max(map(_generation_number, self.list_generations()), default=0) + 1}"
        with self.open_client() as client:
            self.create_with_indexes(client, name)
        return name

    def create_with_indexes(self, client: QdrantClient, name: str) -> None:
        """Make a collection with its payload indexes; harmless to repeat."""
        self._create(client, name)
        there = client.get_collection(name).payload_schema
        for field, schema in self._indexes():
            if field not in there:
                client.create_payload_index(name, field, field_schema=schema, wait=True)

    def switch_alias(self, name: str) -> None:
        """Let the alias lead to collection `name`, in one step, and remove the space's other collections."""
        from qdrant_client.http import models

        with self.open_client() as client:
            if self._current_collection(client) == self.name:
                # Made before there were aliases: its name has to be free first. Recall goes by words for a moment.
                client.delete_collection(self.name)
            point = models.CreateAlias(collection_name=name, alias_name=self.name)
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=point)])
        for old in self.list_generations():
            if old != name:
                self.drop_collection(old)

    def drop_collection(self, name: str) -> None:
        """Remove a collection; harmless when it is not there."""
        with self.open_client() as client:
            client.delete_collection(name)

    def _current_collection(self, client: QdrantClient) -> str | None:
        aliases = {found.alias_name: found.collection_name for found in client.get_aliases().aliases}
        if self.name in aliases:
            return aliases[self.name]
        return self.name if client.collection_exists(self.name) else None

    def _ensure(self, client: QdrantClient) -> None:
        """Make the collection when it is not there. Every process asks once, and two at a time do no harm."""
        if self._ready_in == os.getpid():
            return
        serving = self._current_collection(client)
        self.create_with_indexes(client, serving or f"{self.name}--1")
        if serving is None:
            self._name(client)
        self._ready_in = os.getpid()

    def _name(self, client: QdrantClient) -> None:
        from qdrant_client.http import models

        if self._current_collection(client) is None:
            point = models.CreateAlias(collection_name=f"{self.name}--1", alias_name=self.name)
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=point)])

    def _create(self, client: QdrantClient, name: str) -> None:
        from qdrant_client.http import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        if client.collection_exists(name):
            return
        vector = models.VectorParams(size=max(self._dimensions, 1), distance=models.Distance.COSINE)
        try:
            client.create_collection(
                name,
                vectors_config={VECTOR: vector},
                sparse_vectors_config={
                    WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF),
                    IDENTIFIERS: models.SparseVectorParams(),
                },
                # No graph over all agents: every search is one agent's.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
            )
        except UnexpectedResponse as error:
            if error.status_code != _HTTP_CONFLICT:
                raise

    def _refusal(self, status: int, text: str) -> IndexUnavailable | InvalidInput:
        said = " ".join(text.split())[:300]
        if status == _HTTP_NOT_FOUND:
            # Somebody removed the collection: the next call makes it anew.
            self._ready_in = None
        if status in {_HTTP_NOT_FOUND, _HTTP_TOO_MANY} or status >= _HTTP_SERVER or status in {401, 403}:
            return IndexUnavailable(f"Qdrant cannot serve {self.name}: {said}. Memories are kept.")
        return InvalidInput(f"Qdrant refused a request for {self.name}: {said}")


def _generation_number(name: str) -> int:
    found = _GENERATION.search(name)
    return int(found[1]) if found else 0
