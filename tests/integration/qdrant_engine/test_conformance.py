"""The same random history and the same questions, asked of the engine process and of the client's own local mode."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

DIM = 8
NAME = "memories"
WORDS = ["bet", "casino", "escrow", "wallet", "domain", "faucet", "trade", "stake", "flat", "odds", "win", "loss"]
POINTS = 80
EVERYTHING = 200

Ask = Callable[[QdrantClient], Any]


def vector(rng: random.Random) -> list[float]:
    return [rng.gauss(0, 1) for _ in range(DIM)]


def payload(rng: random.Random) -> dict[str, Any]:
    full = {
        "agent": rng.choice("abc"),
        "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 9))),
        "at": f"2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T0{rng.randint(0, 9)}:00:00Z",
        "version": rng.randint(0, 20),
        "price": rng.randint(-20, 20) / 4,
        "tags": rng.sample(WORDS, k=rng.randint(0, 3)),
        "parts": [{"kind": rng.choice("xy"), "size": rng.randint(0, 4)} for _ in range(rng.randint(0, 3))],
        "note": rng.choice([None, "n"]),
    }
    return {key: value for key, value in full.items() if key in {"agent", "text", "at"} or rng.random() < 0.8}


def points(rng: random.Random, count: int) -> list[models.PointStruct]:
    numbers = rng.sample(range(POINTS), k=count)
    return [
        models.PointStruct(id=number, vector={"dense": vector(rng)} if rng.random() < 0.8 else {}, payload=payload(rng))
        for number in numbers
    ]


def equals(key: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def field(key: str, **condition: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **condition)


def must(*conditions: Any) -> models.Filter:
    return models.Filter(must=list(conditions))


def change(rng: random.Random) -> Ask:
    """One random write."""
    batch = points(rng, rng.randint(1, 6))
    some = rng.sample(range(POINTS), k=3)
    target = must(equals("agent", rng.choice("abc")), field("version", range=models.Range(gt=rng.randint(5, 18))))
    older = must(field("version", range=models.Range(lt=rng.randint(0, 20))))
    mode = rng.choice(list(models.UpdateMode))
    choices: list[Ask] = [
        lambda client: client.upsert(NAME, batch),
        lambda client: client.upsert(NAME, batch, update_mode=mode),
        lambda client: client.upsert(NAME, batch, update_filter=older),
        lambda client: client.delete(NAME, some),
        lambda client: client.delete(NAME, target),
        lambda client: client.set_payload(NAME, {"extra": some}, points=target),
        lambda client: client.overwrite_payload(NAME, {"agent": "c", "text": "bet"}, points=target),
        lambda client: client.delete_payload(NAME, ["price", "tags"], points=target),
    ]
    return rng.choices(choices, weights=[6, 2, 2, 1, 1, 2, 1, 1])[0]


FILTERS: dict[str, models.Filter] = {
    "all": models.Filter(),
    "agent": must(equals("agent", "a")),
    "not": models.Filter(must_not=[equals("agent", "a")]),
    "should": models.Filter(should=[equals("agent", "a"), equals("version", 3)]),
    "any": must(field("agent", match=models.MatchAny(any=["a", "c"]))),
    "any tag": must(field("tags", match=models.MatchAny(any=["bet", "odds"]))),
    "except": must(field("agent", match=models.MatchExcept(**{"except": ["a"]}))),
    "range": must(field("price", range=models.Range(gte=-1.5, lt=3))),
    "days": must(field("at", range=models.DatetimeRange(gte="2026-03-01T00:00:00Z", lt="2026-07-15T02:00:00+02:00"))),
    "text": must(field("text", match=models.MatchText(text="bet casino"))),
    "any word": must(field("text", match=models.MatchTextAny(text_any="escrow odds"))),
    "empty": must(models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))),
    "null": must(models.IsNullCondition(is_null=models.PayloadField(key="note"))),
    "ids": must(models.HasIdCondition(has_id=[1, 2, 3, 40, 500])),
    "vector": must(models.HasVectorCondition(has_vector="dense")),
    "count": must(field("tags", values_count=models.ValuesCount(gte=2))),
    "nested": must(
        models.NestedCondition(
            nested=models.Nested(key="parts", filter=must(equals("kind", "x"), field("size", range=models.Range(gt=2))))
        )
    ),
    "array": must(field("parts[].size", range=models.Range(gte=4))),
    "two of": models.Filter(
        min_should=models.MinShould(
            conditions=[equals("agent", "a"), field("price", range=models.Range(gt=0)), equals("note", "n")],
            min_count=2,
        )
    ),
    "deep": must(models.Filter(should=[equals("agent", "b"), must(equals("agent", "a"), equals("note", "n"))])),
}


def prefetch(rng: random.Random) -> list[models.Prefetch]:
    text = models.TextQuery(text=" ".join(rng.sample(WORDS, k=2)))
    return [
        models.Prefetch(query=vector(rng), using="dense", limit=EVERYTHING),
        models.Prefetch(query=text, using="text", limit=EVERYTHING),
    ]


def queries(rng: random.Random) -> dict[str, dict[str, Any]]:
    """Every shape of query that the library asks, with random vectors and words."""
    text = models.TextQuery(text=" ".join(rng.sample(WORDS, k=3)))
    decay = models.DecayParamsExpression(
        x=models.DatetimeKeyExpression(datetime_key="at"),
        target=models.DatetimeExpression(datetime="2026-10-01T00:00:00Z"),
        scale=90 * 86_400,
        midpoint=0.5,
    )
    recency = models.MultExpression(mult=["$score", models.ExpDecayExpression(exp_decay=decay)])
    dense = models.Prefetch(query=vector(rng), using="dense", limit=EVERYTHING)
    return {
        "dense": {"query": vector(rng), "using": "dense"},
        "dense of agent": {"query": vector(rng), "using": "dense", "query_filter": FILTERS["agent"]},
        "dense threshold": {"query": vector(rng), "using": "dense", "score_threshold": 0.2},
        "text": {"query": text, "using": "text"},
        "text of agent": {"query": text, "using": "text", "query_filter": FILTERS["agent"]},
        "formula": {
            "prefetch": dense,
            "query": models.FormulaQuery(formula=recency, defaults={"at": "2026-01-01T00:00:00Z"}),
        },
        "bonus": {
            "prefetch": dense,
            "query": models.FormulaQuery(
                formula=models.SumExpression(sum=["$score", models.MultExpression(mult=[0.5, equals("agent", "a")])])
            ),
        },
        "dbsf": {"prefetch": prefetch(rng), "query": models.FusionQuery(fusion=models.Fusion.DBSF)},
        "by id": {"query_filter": FILTERS["agent"]},
    }


@pytest.fixture
def both(client: QdrantClient, memories: str) -> Iterator[tuple[QdrantClient, QdrantClient]]:
    assert memories == NAME
    oracle = QdrantClient(":memory:")
    oracle.create_collection(NAME, {"dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # indexes have no effect there
        oracle.create_payload_index(NAME, "text", models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True))
    client.create_payload_index(NAME, "tags", "keyword")
    yield client, oracle
    oracle.close()


def scores(found: Any) -> dict[Any, Any]:
    return {point.id: pytest.approx(point.score, rel=1e-3, abs=1e-5) for point in found.points}


def stored(client: QdrantClient) -> dict[Any, Any]:
    records = client.scroll(NAME, limit=EVERYTHING, with_vectors=True)[0]
    return {each.id: (each.payload, each.vector.get("dense")) for each in records}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_history_same_answers(both: tuple[QdrantClient, QdrantClient], seed: int) -> None:
    rng = random.Random(seed)
    engine, oracle = both
    first = points(rng, 60)
    for step in [lambda client: client.upsert(NAME, first), *(change(rng) for _ in range(40))]:
        for client in both:
            step(client)

    kept, expected = stored(engine), stored(oracle)
    assert kept.keys() == expected.keys()
    for number, (payload_, vector_) in expected.items():
        assert kept[number] == (payload_, pytest.approx(vector_, abs=1e-5)), number
    for name, filter_ in FILTERS.items():
        counts = [client.count(NAME, count_filter=filter_).count for client in both]
        assert counts[0] == counts[1], name
    for name, query in queries(rng).items():
        answers = [client.query_points(NAME, limit=EVERYTHING, **query) for client in both]
        assert {each.id: each.score for each in answers[0].points} == scores(answers[1]), name
        assert answers[0].points, name
    check_fusion(both, rng)
    check_order(both)


def check_fusion(both: tuple[QdrantClient, QdrantClient], rng: random.Random) -> None:
    """RRF over arms without ties; where ranks tie, either order is right."""
    arms = [
        models.Prefetch(query=vector(rng), using="dense", limit=20, filter=FILTERS[name]) for name in ("all", "any")
    ]
    for rrf in (models.Rrf(), models.Rrf(k=60), models.Rrf(k=60, weights=[3.0, 1.0])):
        answers = [
            client.query_points(NAME, prefetch=arms, query=models.RrfQuery(rrf=rrf), limit=EVERYTHING)
            for client in both
        ]
        assert {each.id: each.score for each in answers[0].points} == scores(answers[1])


def check_order(both: tuple[QdrantClient, QdrantClient]) -> None:
    for order in (
        models.OrderBy(key="price"),
        models.OrderBy(key="at", direction=models.Direction.DESC, start_from="2026-06-01T00:00:00Z"),
    ):
        pages = [client.scroll(NAME, limit=EVERYTHING, order_by=order)[0] for client in both]
        values = [[point.payload[order.key] for point in page] for page in pages]
        assert values[0] == values[1]
        assert values[0]
    facets = [sorted((hit.value, hit.count) for hit in client.facet(NAME, "tags").hits) for client in both]
    assert facets[0] == facets[1]
