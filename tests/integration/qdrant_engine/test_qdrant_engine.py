"""The routes: what the real client can do against the engine process, and what is refused."""

from __future__ import annotations

import uuid
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


def of_agent(agent: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="agent", match=models.MatchValue(value=agent))])


def ids(points: list[Any]) -> list[Any]:
    return [each.id for each in points]


def refused(call: Callable[[], Any]) -> tuple[int | None, str]:
    with pytest.raises(UnexpectedResponse) as caught:
        call()
    return caught.value.status_code, caught.value.structured()["status"]["error"]


def test_collection_lives_from_create_to_delete(client: QdrantClient, memories: str) -> None:
    assert client.collection_exists(memories)
    assert [each.name for each in client.get_collections().collections] == [memories]
    info = client.get_collection(memories)
    assert info.config.hnsw_config.payload_m == 16
    assert info.config.params.vectors["dense"].size == DIM
    assert info.payload_schema["agent"].params.is_tenant
    assert info.payload_schema["text"].params.scoring is not None
    assert {key: index.data_type.value for key, index in info.payload_schema.items()} == {
        "agent": "keyword", "text": "text", "at": "datetime", "version": "integer", "price": "float",
    }  # fmt: skip
    assert client.delete_collection(memories)
    assert not client.collection_exists(memories)
    assert not client.delete_collection(memories)


def test_metadata_of_a_collection_is_kept(client: QdrantClient) -> None:
    vectors = models.VectorParams(size=DIM, distance=models.Distance.DOT)
    client.create_collection("plain", vectors_config=vectors, metadata={"embedder": "minilm"})
    config = client.get_collection("plain").config
    assert config.metadata == {"embedder": "minilm"}
    assert config.params.vectors.distance is models.Distance.DOT


def test_unnamed_vector(client: QdrantClient) -> None:
    client.create_collection("plain", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.DOT))
    client.upsert("plain", models.Batch(ids=[1, 2], vectors=[UPWARD, SIDEWAYS], payloads=[{"n": 1}, {"n": 2}]))
    client.upsert("plain", [models.PointStruct(id=3, vector=UPWARD), models.PointStruct(id=4, vector={})])
    found = client.query_points("plain", query=SIDEWAYS, limit=1, with_vectors=True).points
    assert (ids(found), found[0].vector) == ([2], SIDEWAYS)
    assert client.count("plain").count == 4


def test_index_comes_and_goes(client: QdrantClient, memories: str) -> None:
    english = models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType.WORD,
        lowercase=True,
        stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["usdc"]),
        stemmer=models.SnowballParams(type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH),
        phrase_matching=True,
        scoring=True,
    )
    client.create_payload_index(memories, "text", english)
    client.upsert(memories, [point(1, text="Bets were lost"), point(2, text="the usdc")])
    params = client.get_collection(memories).payload_schema["text"].params
    assert params.stemmer == english.stemmer
    assert params.stopwords == english.stopwords
    query = models.TextQuery(text="losing a bet, the usdc")
    assert ids(client.query_points(memories, query=query, using="text").points) == [1]
    client.delete_payload_index(memories, "text")
    assert "text" not in client.get_collection(memories).payload_schema
    status, message = refused(lambda: client.query_points(memories, query=query, using="text"))
    assert status == 400
    assert "text index" in message


def test_point_without_vector_is_found_by_text_and_gets_its_vector_later(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(1, text="red fox", agent="a"), point(2, UPWARD, text="blue whale", agent="a")])
    with_vector = models.Filter(must=[models.HasVectorCondition(has_vector="dense")])
    text = models.TextQuery(text="fox")
    assert ids(client.query_points(memories, query=text, using="text").points) == [1]
    assert ids(client.query_points(memories, query=UPWARD, using="dense").points) == [2]
    assert client.count(memories, count_filter=with_vector).count == 1
    assert client.retrieve(memories, [1], with_vectors=True)[0].vector == {}

    client.upsert(memories, [point(1, SIDEWAYS, text="red fox", agent="a")])
    assert ids(client.query_points(memories, query=SIDEWAYS, using="dense").points) == [1, 2]
    client.upsert(memories, [point(3, text="green fox", agent="b")])
    client.update_vectors(memories, [models.PointVectors(id=3, vector={"dense": UPWARD})])
    found = client.retrieve(memories, [3], with_vectors=True)[0]
    assert (found.payload, found.vector) == ({"text": "green fox", "agent": "b"}, {"dense": UPWARD})
    assert ids(client.query_points(memories, query=text, using="text", query_filter=of_agent("b")).points) == [3]


def test_hybrid_search_sees_one_agent_only(client: QdrantClient, memories: str) -> None:
    client.upsert(
        memories,
        [
            point(1, UPWARD, agent="a", text="flat stakes beat martingale"),
            point(2, SIDEWAYS, agent="a", text="escrow took two days"),
            point(3, agent="a", text="martingale lost everything"),
            point(4, UPWARD, agent="b", text="martingale martingale"),
        ],
    )
    corpus = models.SearchParams(idf=models.IdfCorpusParams(corpus=of_agent("a")))
    answer = client.query_points(
        memories,
        prefetch=[
            models.Prefetch(query=UPWARD, using="dense", limit=10),
            models.Prefetch(query=models.TextQuery(text="martingale"), using="text", limit=10, params=corpus),
        ],
        query=models.RrfQuery(rrf=models.Rrf(k=60, weights=[1.0, 1.0])),
        query_filter=of_agent("a"),
        with_payload=["agent"],
    )
    assert {each.id for each in answer.points} == {1, 2, 3}
    assert answer.points[0].id == 1
    # Ranks count from 0 here: first in the dense arm, and first or second in the text arm.
    assert answer.points[0].score == pytest.approx(1 / 60 + 1 / 61, rel=0.02)
    assert all(each.payload == {"agent": "a"} for each in answer.points)


def test_batch_gives_each_arm_with_its_own_scores(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(1, UPWARD, agent="a", text="fox"), point(2, SIDEWAYS, agent="a", text="whale")])
    dense, text = client.query_batch_points(
        memories,
        [
            models.QueryRequest(query=UPWARD, using="dense", filter=of_agent("a"), limit=5, with_payload=True),
            models.QueryRequest(query=models.TextQuery(text="whale"), using="text", filter=of_agent("a"), limit=5),
        ],
    )
    assert [(each.id, round(each.score, 5)) for each in dense.points] == [(1, 1.0), (2, 0.0)]
    assert ids(text.points) == [2]
    assert text.points[0].score > 0
    assert text.points[0].payload is None


def test_idf_is_counted_inside_the_agents_own_corpus(client: QdrantClient, memories: str) -> None:
    crowd = [point(number, agent="crowd", text="bet") for number in range(10, 60)]
    client.upsert(memories, [point(1, agent="a", text="bet"), point(2, agent="a", text="escrow"), *crowd])

    def score(params: models.SearchParams | None) -> float:
        query = models.TextQuery(text="bet")
        found = client.query_points(
            memories, query=query, using="text", query_filter=of_agent("a"), search_params=params
        )
        return found.points[0].score

    own = score(models.SearchParams(idf=models.IdfCorpusParams(corpus=of_agent("a"))))
    assert own > 5 * score(None)


def test_stale_write_is_fenced_by_update_filter(client: QdrantClient, memories: str) -> None:
    def write(number: int, version: int) -> None:
        older = models.Filter(must=[models.FieldCondition(key="version", range=models.Range(lt=version))])
        client.upsert(memories, [point(number, UPWARD, version=version)], update_filter=older)

    write(1, 2)
    write(1, 1)
    assert client.retrieve(memories, [1])[0].payload == {"version": 2}
    write(1, 3)
    assert client.retrieve(memories, [1])[0].payload == {"version": 3}


def test_update_modes(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(1, UPWARD, n=1)])
    both = [point(1, UPWARD, n=2), point(2, UPWARD, n=2)]
    client.upsert(memories, both[:1], update_mode=models.UpdateMode.INSERT_ONLY)
    assert client.retrieve(memories, [1])[0].payload == {"n": 1}
    client.upsert(memories, both, update_mode=models.UpdateMode.UPDATE_ONLY)
    assert [each.payload for each in client.retrieve(memories, [1, 2])] == [{"n": 2}]


def test_payload_is_selected_and_changed(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(1, UPWARD, a=1, b={"c": 2, "d": [3]}), point(2, UPWARD, a=5)])

    def payload(selector: Any = True, number: int = 1) -> Any:
        return client.retrieve(memories, [number], with_payload=selector)[0].payload

    assert payload(["b.c"]) == {"b": {"c": 2}}
    assert payload(models.PayloadSelectorInclude(include=["a"])) == {"a": 1}
    assert payload(models.PayloadSelectorExclude(exclude=["b"])) == {"a": 1}
    assert payload(False) is None
    client.set_payload(memories, {"x": 1}, points=[1])
    client.set_payload(memories, {"c": 7}, points=[1], key="b")
    assert payload() == {"a": 1, "b": {"c": 7, "d": [3]}, "x": 1}
    client.delete_payload(memories, ["x"], points=[1])
    only_five = models.Filter(must=[models.FieldCondition(key="a", match=models.MatchValue(value=5))])
    client.overwrite_payload(memories, {"new": True}, points=only_five)
    assert (payload(), payload(number=2)) == ({"a": 1, "b": {"c": 7, "d": [3]}}, {"new": True})
    client.clear_payload(memories, [2])
    assert payload(number=2) == {}


def test_ids_are_integers_or_uuids(client: QdrantClient, memories: str) -> None:
    known = uuid.uuid5(uuid.NAMESPACE_URL, "memory")
    client.upsert(
        memories,
        [
            models.PointStruct(id=str(known), vector={}, payload={}),
            models.PointStruct(id=2**64 - 1, vector={}, payload={"big": 2**63}),
        ],
    )
    found = client.retrieve(memories, [2**64 - 1, str(known), 5])
    assert ids(found) == [2**64 - 1, str(known)]
    assert found[0].payload == {"big": 2**63}
    for wrong in ("0123456789abcdef", -1, 2**64):
        status, message = refused(lambda wrong=wrong: client.retrieve(memories, [wrong]))
        assert status == 400
        assert "not a valid point ID" in message


def test_delete_by_ids_and_by_filter(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(number, UPWARD, agent="ab"[number % 2]) for number in range(10)])
    client.delete(memories, [0, 1, 77])
    assert client.count(memories).count == 8
    client.delete(memories, models.FilterSelector(filter=of_agent("a")))
    assert client.count(memories, count_filter=of_agent("a")).count == 0
    assert client.count(memories).count == 4


def test_scroll_walks_everything_once(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(number, version=100 - number) for number in range(25)])
    seen: list[Any] = []
    offset: Any = None
    while True:
        page, offset = client.scroll(memories, limit=10, offset=offset, with_payload=False)
        seen += ids(page)
        if offset is None:
            break
    assert seen == list(range(25))
    newest = models.OrderBy(key="version", direction=models.Direction.DESC, start_from=90)
    ordered, following = client.scroll(memories, limit=3, order_by=newest)
    assert ids(ordered) == [10, 11, 12]
    assert following is None
    status, message = refused(lambda: client.scroll(memories, offset=3, order_by="version"))
    assert (status, "ffset" in message) == (400, True)


def test_facet_counts_values(client: QdrantClient, memories: str) -> None:
    client.upsert(memories, [point(number, agent="ab"[number > 6]) for number in range(10)])
    assert [(hit.value, hit.count) for hit in client.facet(memories, "agent").hits] == [("a", 7), ("b", 3)]
    assert [hit.value for hit in client.facet(memories, "agent", limit=1).hits] == ["a"]


def test_recency_formula(client: QdrantClient, memories: str) -> None:
    days = {1: "2026-01-01T00:00:00Z", 2: "2026-01-31T00:00:00Z"}
    client.upsert(memories, [point(number, UPWARD, at=day) for number, day in days.items()])
    decay = models.DecayParamsExpression(
        x=models.DatetimeKeyExpression(datetime_key="at"),
        target=models.DatetimeExpression(datetime="2026-01-31T00:00:00Z"),
        scale=30 * 86_400,
        midpoint=0.5,
    )
    formula = models.MultExpression(mult=["$score", models.ExpDecayExpression(exp_decay=decay)])
    answer = client.query_points(
        memories,
        prefetch=models.Prefetch(query=UPWARD, using="dense"),
        query=models.FormulaQuery(formula=formula),
    )
    assert [(each.id, round(each.score, 4)) for each in answer.points] == [(2, 1.0), (1, 0.5)]


def test_alias_switch_from_one_collection_to_its_shadow(
    client: QdrantClient, make_collection: Callable[..., str]
) -> None:
    for name in ("v1", "v2"):
        make_collection(client, name)
    client.upsert("v2", [point(1, UPWARD)])
    switch = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="v1", alias_name="live"))
    client.update_collection_aliases([switch])
    client.upsert("live", [point(number, UPWARD, agent="a") for number in range(3)])
    client.create_payload_index("live", "extra", "keyword")
    assert client.count("v1").count == client.count("live").count == 3
    assert client.collection_exists("live")
    assert "extra" in client.get_collection("v1").payload_schema

    client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="live")),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="v2", alias_name="live")),
        ]
    )
    assert client.count("live").count == 1
    assert [each.alias_name for each in client.get_collection_aliases("v2").aliases] == ["live"]
    rename = models.RenameAlias(old_alias_name="live", new_alias_name="current")
    client.update_collection_aliases([models.RenameAliasOperation(rename_alias=rename)])
    assert [(each.alias_name, each.collection_name) for each in client.get_aliases().aliases] == [("current", "v2")]
    assert not client.delete_collection("current"), "a drop needs the real name"
    assert client.delete_collection("v2")
    assert client.get_aliases().aliases == []


def test_about_and_health(engine: Any) -> None:
    about = engine.raw("GET", "/").json()
    assert (about["version"], about["engine"]) == ("1.20.0", "edge 0.9.0")
    for path in ("/healthz", "/livez", "/readyz"):
        assert engine.raw("GET", path).status_code == 200
