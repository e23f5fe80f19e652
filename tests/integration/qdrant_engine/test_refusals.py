"""What the engine process refuses, and that a refusal changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

DIM = 8
UPWARD = [1.0] + [0.0] * (DIM - 1)
SIDEWAYS = [0.0, 1.0] + [0.0] * (DIM - 2)


def point(number: int, vector: list[float] | None = None, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=number, vector={} if vector is None else {"dense": vector}, payload=payload)


def refused(call: Callable[[], Any]) -> tuple[int | None, str]:
    with pytest.raises(UnexpectedResponse) as caught:
        call()
    return caught.value.status_code, caught.value.structured()["status"]["error"]


@pytest.fixture(scope="module")
def client(engine: Any) -> QdrantClient:
    return engine.client


@pytest.fixture(scope="module")
def memories(client: QdrantClient, make_collection: Callable[..., str]) -> Any:
    yield make_collection(client, "refusing")
    client.delete_collection("refusing")


@pytest.fixture(autouse=True)
def _empty(client: QdrantClient, memories: str) -> None:
    client.delete(memories, models.Filter())


def test_wrong_alias_change_changes_nothing(client: QdrantClient, memories: str) -> None:
    def create(collection: str, alias: str) -> models.CreateAliasOperation:
        return models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
        )

    for wrong, status in ((create("nowhere", "x"), 404), (create(memories, memories), 409)):
        actions = [create(memories, "good"), wrong]
        assert refused(lambda actions=actions: client.update_collection_aliases(actions))[0] == status
    assert client.get_aliases().aliases == []
    client.update_collection_aliases([create(memories, "good")])
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    assert refused(lambda: client.create_collection("good", vectors_config=vectors))[0] == 409


REFUSED_UPSERTS = {
    "width": ({"id": 2, "vector": {"dense": [1.0]}}, "expected dim: 8, got 1"),
    "name": ({"id": 2, "vector": {"sparse": UPWARD}}, "Not existing vector name"),
    "unnamed": ({"id": 2, "vector": UPWARD}, "Not existing vector name"),
    "not finite": ({"id": 2, "vector": {"dense": [math.nan] * DIM}}, "not finite"),
    "text": ({"id": 2, "vector": {"dense": ["a"] * DIM}}, "vector.dense.0: Input should be a valid number"),
    "id": ({"id": 1.5, "vector": {}}, "points.1.id"),
    "extra": ({"id": 2, "vector": {}, "note": 1}, "points.1.note: Extra inputs"),
    "payload": ({"id": 2, "vector": {}, "payload": {"x": math.inf}}, "not finite"),
    "inference": ({"id": 2, "vector": {"dense": {"text": "x", "model": "y"}}}, "list of numbers"),
}


@pytest.mark.parametrize("case", REFUSED_UPSERTS)
def test_one_wrong_point_refuses_the_whole_upsert(engine: Any, client: QdrantClient, memories: str, case: str) -> None:
    wrong, expected = REFUSED_UPSERTS[case]
    body = json.dumps({"points": [{"id": 1, "vector": {"dense": UPWARD}}, wrong]})
    answer = engine.raw("PUT", f"/collections/{memories}/points?wait=true", content=body)
    assert answer.status_code == 400
    assert expected in answer.json()["status"]["error"]
    assert client.count(memories).count == 0


def test_payload_too_deep_to_read_back_is_refused(client: QdrantClient, memories: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"in": deep}
    client.upsert(memories, [point(1)])
    status, message = refused(lambda: client.upsert(memories, [point(2, text=deep)]))
    assert (status, "64 levels" in message) == (400, True)
    assert refused(lambda: client.set_payload(memories, deep, points=[1]))[0] == 400
    assert refused(lambda: client.set_payload(memories, {"a": 1}, points=[1], key=".".join("a" * 80)))[0] == 400
    assert [each.id for each in client.scroll(memories)[0]] == [1]


def test_change_of_a_missing_point_changes_no_other(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(1, UPWARD, n=1)])
    status, message = refused(lambda: client.set_payload(memories, {"n": 2}, points=[1, 9]))
    assert (status, "No point with id 9" in message) == (404, True)
    vectors = [models.PointVectors(id=number, vector={"dense": SIDEWAYS}) for number in (1, 9)]
    assert refused(lambda: client.update_vectors(memories, vectors))[0] == 404
    assert client.retrieve(memories, [1], with_vectors=True)[0].vector == {"dense": UPWARD}
    assert client.retrieve(memories, [1])[0].payload == {"n": 1}


REFUSED_QUERIES: dict[str, tuple[dict[str, Any], str]] = {
    "boolean": ({"filter": {"must": {"key": "done", "match": {"value": True}}}}, "keyword"),
    "empty condition": ({"filter": {"must": [{"key": "a"}]}}, "says nothing"),
    "bad key": ({"filter": {"must": [{"key": "a[", "match": {"value": 1}}]}}, "invalid JSON path"),
    "geo": ({"filter": {"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": 1}}]}}, "geo"),
    "unknown option": ({"query": UPWARD, "using": "dense", "fast": True}, "fast: Extra inputs"),
    "unknown vector": ({"query": UPWARD}, "Not existing vector name"),
    "not finite": ({"query": [math.inf] * DIM, "using": "dense"}, "not finite"),
    "width": ({"query": [1.0], "using": "dense"}, "expected dim"),
    "by id": ({"query": 1, "using": "dense"}, "no query by int"),
    "recommend": ({"query": {"recommend": {"positive": [1]}}, "using": "dense"}, "no query by RecommendQuery"),
    "text without field": ({"query": {"text": "fox"}}, "using"),
    "limit": ({"limit": 0}, "`limit` is 0"),
    "offset": ({"offset": -1}, "`offset` is -1"),
    "fusion of nothing": ({"query": {"fusion": "rrf"}}, "without prefetches"),
    "rrf k": ({"prefetch": [{"query": UPWARD, "using": "dense"}], "query": {"rrf": {"k": 0}}}, "`k` is 0"),
    "lookup": ({"lookup_from": {"collection": "other"}}, "lookup_from"),
    "formula": ({"prefetch": [{"query": UPWARD, "using": "dense"}], "query": {"formula": "nope"}}, "defaults"),
    "not json": ({}, "Invalid JSON"),
}


@pytest.mark.parametrize("case", REFUSED_QUERIES)
def test_wrong_query_is_refused_in_words(engine: Any, client: QdrantClient, memories: str, case: str) -> None:
    client.upsert(memories, [point(1, UPWARD)])
    body, expected = REFUSED_QUERIES[case]
    answer = engine.raw("POST", f"/collections/{memories}/points/query", content=json.dumps(body) if body else "{")
    assert answer.status_code == 400, answer.text
    assert expected in answer.json()["status"]["error"]
    assert answer.json()["time"] >= 0


REFUSED_COLLECTIONS: dict[str, dict[str, Any]] = {
    "no vectors": {},
    "size": {"vectors": {"dense": {"size": 0, "distance": "Cosine"}}},
    "sparse index": {"sparse_vectors": {"words": {"index": {"on_disk": True}}}},
    "sparse and dense": {"sparse_vectors": {"dense": {}}},
    "shards": {"shard_number": 2},
    "wal": {"wal_config": {"wal_capacity_mb": 1}},
    "quantization": {"quantization_config": {"binary": {}}},
    "unknown": {"replicas": 1},
    "optimizer": {"optimizers_config": {"memmap_threshold": 1}},
    "multivector": {"vectors": {"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}},
}


@pytest.mark.parametrize("case", REFUSED_COLLECTIONS)
def test_wrong_collection_is_refused_and_leaves_nothing(engine: Any, client: QdrantClient, case: str) -> None:
    body = {"vectors": {"dense": {"size": 2, "distance": "Dot"}}} | REFUSED_COLLECTIONS[case]
    body = {} if case == "no vectors" else body
    assert engine.raw("PUT", "/collections/wrong", json=body).status_code == 400
    assert not client.collection_exists("wrong")


def test_collection_name_is_checked_and_taken_once(engine: Any, client: QdrantClient, memories: str) -> None:
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    assert engine.raw("PUT", f"/collections/{memories}", json=body).status_code == 409
    for name in ("..%2Fx", "a%20b", ".hidden", "x" * 256):
        assert engine.raw("PUT", f"/collections/{name}", json=body).status_code == 400
    assert refused(lambda: client.get_collection("nowhere"))[0] == 404
    assert refused(lambda: client.create_payload_index(memories, "place", "geo"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/collections/refusing/points/query/groups"),
        ("PATCH", "/collections/refusing"),
        ("POST", "/collections/refusing/snapshots"),
        ("GET", "/telemetry"),
        ("DELETE", "/"),
        ("GET", "/collections/refusing/points"),
    ],
)
def test_other_routes_answer_501_with_their_name(engine: Any, memories: str, method: str, path: str) -> None:
    answer = engine.raw(method, path)
    assert answer.status_code == 501
    assert answer.json()["status"]["error"].startswith(f"{method} {path} is not served")


def test_unknown_option_of_a_route_is_refused(engine: Any, memories: str) -> None:
    answer = engine.raw("POST", f"/collections/{memories}/points/count?speed=1", json={})
    assert (answer.status_code, answer.json()["status"]["error"]) == (
        400, "The option `speed` is not known to this route.",
    )  # fmt: skip


def test_web_pages_and_other_hosts_are_turned_away(engine: Any) -> None:
    assert engine.raw("GET", "/collections", headers={"Origin": "http://example.test"}).status_code == 403
    assert engine.raw("GET", "/collections", headers={"Host": "example.test"}).status_code == 403


def test_request_over_the_limit_is_refused_in_words(engine: Any, client: QdrantClient, memories: str) -> None:
    answer = engine.raw("PUT", f"/collections/{memories}/points", content=b"x" * (32 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert "smaller batches" in answer.json()["status"]["error"]
    assert client.count(memories).count == 0
