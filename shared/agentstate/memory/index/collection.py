"""Collections in Qdrant: how they are created, and the alias under which the one of a vector space is reached.

The name of a space is an alias of a numbered collection, `<space>--1`, so that the next number can be filled while the
present one is searched, and the alias is then switched in one step.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from agentstate.errors import IndexUnavailable, InvalidInput

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

VECTOR = "dense"
WORDS = "words"
"""Sparse: the weight of each term, which a query multiplies by the term's rarity."""
IDENTIFIERS = "identifiers"
"""Sparse: each identifier once."""
PREFIX = "memories-"
"""Begins the names of all our collections."""

_GENERATION = re.compile(r"--(\d+)\Z")
_HTTP_CONFLICT = 409
_HTTP_NOT_FOUND = 404
_HTTP_SERVER = 500
_UNAVAILABLE = frozenset({401, 403, _HTTP_NOT_FOUND, 429})
"""Answers below 500 that concern the server or its settings, not the request."""


TIMEOUT_S = 10
MAX_CONNECTIONS = 16
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Space(Protocol):
    """A vector space: vectors of one are comparable; see `agentstate.providers.embedding.embedder.VectorSpace`."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        ...

    @property
    def dimensions(self) -> int:
        """Width of a vector; 0 when the space has none."""
        ...


class SpaceCollections:
    """The collections of one vector space. Safe to share between threads.

    Args:
        client: Qdrant, or a function that opens it: then a process that only remembers does not pay for it.
        space: the vector space.
        indexes: returns the payload indexes, by field.
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
        """The client, opened on first use."""
        return self._connect()

    @contextmanager
    def open_ready_client(self) -> Iterator[QdrantClient]:
        """Yield the client with the collection in place, its errors translated.

        Raises:
            IndexUnavailable: Qdrant does not answer, or the collection was just removed. InvalidInput: it refuses.
        """
        with self.open_client() as client:
            if self._ready_in != os.getpid():  # every process asks once, and two at a time do no harm
                serving = self._read_alias(client)
                self.create_collection(client, serving or f"{self.name}--1")
                if serving is None and self._read_alias(client) is None:
                    self._point_alias(client, f"{self.name}--1")
                self._ready_in = os.getpid()
            yield client

    @contextmanager
    def open_client(self) -> Iterator[QdrantClient]:
        """Yield the client, its errors translated; raises as `open_ready_client`."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield self.client
        except UnexpectedResponse as error:
            status, text = error.status_code or 0, " ".join(str(error).split())[:300]
            if status == _HTTP_NOT_FOUND:
                self._ready_in = None  # the collection was removed: the next call creates it again
            if status in _UNAVAILABLE or status >= _HTTP_SERVER:
                raise IndexUnavailable(f"Qdrant cannot serve {self.name}: {text}. Memories are kept.") from error
            raise InvalidInput(f"Qdrant refused a request for {self.name}: {text}") from error
        except (ResponseHandlingException, QdrantException) as error:
            raise IndexUnavailable(f"Qdrant does not answer ({error}); memories are kept and indexed later.") from error

    def current_collection(self) -> str | None:
        """Return the collection that serves now; None when there is none yet."""
        with self.open_client() as client:
            return self._read_alias(client)

    def list_collections(self) -> list[str]:
        """Return all collections with memories, of every space, those that are being filled included."""
        with self.open_client() as client:
            names = [found.name for found in client.get_collections().collections]
        return [name for name in names if name.startswith(PREFIX)]

    def list_generations(self) -> list[str]:
        """Return all collections of this space, those that are being filled included."""
        mine = (name for name in self.list_collections() if _GENERATION.sub("", name) == self.name)
        return sorted(mine, key=_generation_number)

    def create_next(self) -> str:
        """Create an empty collection beside the one that serves; return its name."""
        name = f"{self.name}--{max(map(_generation_number, self.list_generations()), default=0) + 1}"
        with self.open_client() as client:
            self.create_collection(client, name)
        return name

    def switch_alias(self, name: str) -> None:
        """Point the alias at collection `name`, in one step, and drop the space's other collections."""
        with self.open_client() as client:
            if self._read_alias(client) == self.name:
                # Created before there were aliases: its name has to be free first. Recall goes by words for a moment.
                client.delete_collection(self.name)
            self._point_alias(client, name)
        for old in self.list_generations():
            if old != name:
                self.drop_collection(old)

    def drop_collection(self, name: str) -> None:
        """Drop a collection; harmless when there is none."""
        with self.open_client() as client:
            client.delete_collection(name)

    def _read_alias(self, client: QdrantClient) -> str | None:
        aliases = {found.alias_name: found.collection_name for found in client.get_aliases().aliases}
        if self.name in aliases:
            return aliases[self.name]
        return self.name if client.collection_exists(self.name) else None

    def _point_alias(self, client: QdrantClient, collection: str) -> None:
        from qdrant_client.http import models

        alias = models.CreateAlias(collection_name=collection, alias_name=self.name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

    def create_collection(self, client: QdrantClient, name: str) -> None:
        """Create a collection with its payload indexes; harmless to repeat."""
        from qdrant_client.http import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        if not client.collection_exists(name):
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
        existing = client.get_collection(name).payload_schema
        for field, schema in self._indexes():
            if field not in existing:
                client.create_payload_index(name, field, field_schema=schema, wait=True)


def _generation_number(name: str) -> int:
    found = _GENERATION.search(name)
    return int(found[1]) if found else 0


def open_qdrant(url: str, *, api_key: SecretStr | None = None, timeout_s: int = TIMEOUT_S) -> QdrantClient:
    """Return a client for the server at `url`; it connects on first use. `timeout_s` is the deadline of one call.

    It would keep no connection alive to a server on loopback unless told to, which costs a new one per call, and it
    would start a thread that asks for the server's version.
    """
    import httpx
    from qdrant_client import QdrantClient

    address = urlsplit(url)
    on_this_machine = address.hostname in LOOPBACK
    with warnings.catch_warnings():
        if on_this_machine:
            # The key does not leave this machine.
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=None if api_key is None else api_key.get_secret_value(),
            timeout=timeout_s,
            check_compatibility=False,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
            # A proxy of the environment does not reach this machine.
            trust_env=not on_this_machine,
            # Reading the certificates of the authorities takes 30 ms, and plain HTTP has no use for them.
            verify=address.scheme == "https",
        )
