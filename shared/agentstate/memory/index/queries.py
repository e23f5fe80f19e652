"""The requests of a search to the index, and its answer: one request for all retrievers, as plain JSON.

The client's models check each of the hundreds of points, which takes longer than finding them. The request goes through
the client's connection all the same, so keys, deadlines and errors are those of every other call.

Between sending and reading there is time: other work of the caller, such as embedding the query, is done while the
index searches, in the same thread. The client has sent the whole request when it asks its body for another part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from agentstate.memory.index.collection import IDENTIFIERS, VECTOR, WORDS
from agentstate.memory.index.points import hash_terms
from agentstate.memory.search.filters import Json, Scope, scope_json, tenant_json
from agentstate.memory.search.fusion import DENSE, EXACT, KEYWORD, Found, Place
from agentstate.memory.search.identifiers import find_identifiers
from agentstate.memory.search.terms import weigh_query

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_READ = ["memory", "session", "turn"]


@dataclass(frozen=True)
class Answer:
    """The memories that the index found."""

    found: dict[str, Found]
    """By retriever; one without a request is left out."""
    places: dict[str, Place] = field(default_factory=dict)
    """The places of those that are turns."""
    space: str | None = None
    """The vector space whose index answered; None: none did."""

    def merge_with(self, other: Answer) -> Answer:
        """Return both answers as one."""
        return Answer({**self.found, **other.found}, {**self.places, **other.places}, self.space)


def build_requests(scope: Scope, text: str, vector: list[float] | None, limit: int) -> dict[str, Json]:
    """Return the requests by retriever: words and identifiers only when the query has some."""
    common = {"filter": scope_json(scope), "limit": limit, "with_payload": _READ}
    words, exact = weigh_query(text), dict.fromkeys(find_identifiers(text), 1.0)
    asked: dict[str, Json] = {}
    if vector is not None:
        asked[DENSE] = {"query": {"nearest": vector}, "using": VECTOR}
    if words:
        # How rare a word is counts within this agent's memories, not those of others.
        within = {"idf": {"corpus": tenant_json(scope.tenants)}}
        asked[KEYWORD] = {"query": {"nearest": _sparse_json(words)}, "using": WORDS, "params": within}
    if exact:
        asked[EXACT] = {"query": {"nearest": _sparse_json(exact)}, "using": IDENTIFIERS}
    return {retriever: {**request, **common} for retriever, request in asked.items()}


def run_requests(
    client: QdrantClient, collection: str, asked: dict[str, Json], meanwhile: Callable[[], None] | None = None
) -> Answer:
    """Send the requests to `collection` as one; `meanwhile` is called once they are sent."""
    body = _Body(msgspec.json.encode({"searches": list(asked.values())}), meanwhile)
    answered: Json = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{name}/points/query/batch",
        path_params={"name": collection},
        headers={"Content-Type": "application/json", "Content-Length": str(len(body.content))},
        content=body,
    )
    if body.raised is not None:
        raise body.raised
    answer = Answer({}, space=collection)
    for retriever, result in zip(asked, answered["result"], strict=True):
        # Each memory once, with the score of its best chunk.
        best: dict[str, float] = {}
        for point in result["points"]:
            payload = point["payload"] or {}
            memory = payload.get("memory") or point["id"]
            if memory not in best:
                best[memory] = point["score"]
                if "turn" in payload and "session" in payload:
                    answer.places[memory] = payload["session"], payload["turn"]
        count = len(asked[EXACT]["query"]["nearest"]["indices"]) if retriever == EXACT else 1
        answer.found[retriever] = [(memory, score / count) for memory, score in best.items()]
    return answer


@dataclass
class _Body:
    """A request body of a declared length in one part; the client asks for a second part once it has sent that."""

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


def _sparse_json(terms: Mapping[str, float]) -> Json:
    entries = hash_terms(terms)
    return {"indices": list(entries), "values": list(entries.values())}
