"""What a search asks of the index, and what it reads of the answer: one request for all retrievers, as plain JSON.

The client's models check each of the hundreds of points, which takes longer than finding them. The request goes through
the client's connection all the same, so keys, deadlines and errors are those of every other call.

Between sending and reading there is time: what the caller has to do anyway, such as embedding the query, is done while
the index searches, in the same thread. The client has sent all there is when it asks the request for more to send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from agentstate.memory.index.collection import IDENTIFIERS, VECTOR, WORDS
from agentstate.memory.index.index_points import hash_terms, weigh_equally
from agentstate.memory.search.fusion import DENSE, EXACT, KEYWORD, Found, Place
from agentstate.memory.search.identifiers import find_identifiers
from agentstate.memory.search.scope import Json, Scope, scope_json, tenant_json
from agentstate.memory.search.words import split_terms

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_READ = ["memory", "session", "turn"]


@dataclass(frozen=True)
class Answer:
    """What the index found."""

    found: dict[str, Found]
    """By retriever; an retriever that had nothing to ask for is not there."""
    places: dict[str, Place] = field(default_factory=dict)
    """Of the found ones that are turns, where they stand."""
    space: str | None = None
    """The vector space whose index answered; None: none did."""

    def merge_with(self, other: Answer) -> Answer:
        """Both answers as one."""
        return Answer({**self.found, **other.found}, {**self.places, **other.places}, self.space)


def build_requests(scope: Scope, text: str, vector: list[float] | None, limit: int) -> dict[str, Json]:
    """What to ask for, by retriever: words and identifiers only when the query has some."""
    common = {"filter": scope_json(scope), "limit": limit, "with_payload": _READ}
    words, exact = weigh_equally(split_terms(text)), weigh_equally(find_identifiers(text))
    asked: dict[str, Json] = {}
    if vector is not None:
        asked[DENSE] = {"query": {"nearest": vector}, "using": VECTOR}
    if words:
        # How rare a word is counts within this agent's memories, whatever others talk about.
        within = {"idf": {"corpus": tenant_json(scope.tenants)}}
        asked[KEYWORD] = {"query": {"nearest": _sparse(words)}, "using": WORDS, "params": within}
    if exact:
        asked[EXACT] = {"query": {"nearest": _sparse(exact)}, "using": IDENTIFIERS}
    return {retriever: {**request, **common} for retriever, request in asked.items()}


def run_requests(
    client: QdrantClient, collection: str, asked: dict[str, Json], meanwhile: Callable[[], None] | None = None
) -> Answer:
    """What `collection` has for these requests; `meanwhile` is called once they are sent."""
    found = Answer({}, space=collection)
    for retriever, points in zip(asked, _points(client, collection, list(asked.values()), meanwhile), strict=True):
        found.found[retriever] = _best_chunks(points, found.places)
    if EXACT in asked:
        count = len(asked[EXACT]["query"]["nearest"]["indices"])
        found.found[EXACT] = [(memory, score / count) for memory, score in found.found[EXACT]]
    return found


def _points(
    client: QdrantClient, collection: str, searches: list[Json], meanwhile: Callable[[], None] | None
) -> list[list[Json]]:
    """The points of each search, in one request."""
    body = _Body(msgspec.json.encode({"searches": searches}), meanwhile)
    told: Json = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{name}/points/query/batch",
        path_params={"name": collection},
        headers={"Content-Type": "application/json", "Content-Length": str(len(body.content))},
        content=body,
    )
    if body.raised is not None:
        raise body.raised
    return [found["points"] for found in told["result"]]


@dataclass
class _Body:
    """What a request sends. Its length is told, so the server has all of it when the client asks for a second part."""

    content: bytes
    meanwhile: Callable[[], None] | None
    raised: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        if self.meanwhile is None:
            return
        try:
            self.meanwhile()
        except Exception as error:  # noqa: BLE001 the client would call it a failure of the index
            self.raised = error


def _sparse(weights: dict[str, float]) -> Json:
    entries = hash_terms(weights)
    return {"indices": list(entries), "values": list(entries.values())}


def _best_chunks(points: Iterable[Json], places: dict[str, Place]) -> Found:
    """Each memory once, with its best chunk's score; where turns stand is noted in `places`."""
    best: dict[str, float] = {}
    for point in points:
        payload = point["payload"] or {}
        memory = payload.get("memory") or point["id"]
        if memory not in best:
            best[memory] = point["score"]
            if "turn" in payload and "session" in payload:
                places[memory] = payload["session"], payload["turn"]
    return list(best.items())
