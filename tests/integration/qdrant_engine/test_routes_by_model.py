"""The routes that the library asks, under random histories: the engine answers as the client's mode in memory does.

With `QDRANT_URL` (and `QDRANT_API_KEY`) the same histories are played to that server instead of the engine, in
collections of their own that are removed afterwards.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from qdrant_client import QdrantClient, models

DIM = 4
EVERYTHING = 100
WORDS = range(12)
_numbers = itertools.count(1)

agents = st.sampled_from("ab")
ids = st.integers(0, 15)
cells = st.integers(-4, 4).filter(bool).map(float)
dense = st.lists(cells, min_size=DIM, max_size=DIM)
sparse = st.dictionaries(st.sampled_from(WORDS), st.integers(1, 9).map(lambda n: n / 4), min_size=1, max_size=6).map(
    lambda weights: models.SparseVector(indices=list(weights), values=list(weights.values()))
)
payloads = st.fixed_dictionaries(
    {"agent": agents, "version": st.integers(0, 5)},
    optional={
        "tags": st.lists(st.sampled_from(["x=1", "y=2", "z=3"]), max_size=3, unique=True),
        "until": st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-06-01T00:00:00+00:00"]),
    },
)
vectors = st.fixed_dictionaries({}, optional={"dense": dense, "words": sparse, "identifiers": sparse})
points = st.lists(
    st.builds(lambda number, vector, payload: models.PointStruct(id=number, vector=vector, payload=payload),
              ids, vectors, payloads),
    min_size=1, max_size=5, unique_by=lambda point: point.id,
)  # fmt: skip


def having(key: str, *values: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def only(agent: str) -> models.Filter:
    return models.Filter(must=[having("agent", agent)])


class Both(RuleBasedStateMachine):
    """One history, told to two."""

    target: QdrantClient
    oracle: QdrantClient

    def __init__(self) -> None:
        super().__init__()
        self.name = f"model-{os.getpid()}-{next(_numbers)}"
        self.clients = (self.target, self.oracle)
        for client in self.clients:
            client.create_collection(
                self.name,
                vectors_config={"dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE)},
                sparse_vectors_config={
                    "words": models.SparseVectorParams(modifier=models.Modifier.IDF),
                    "identifiers": models.SparseVectorParams(),
                },
            )
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        for field, schema in (("agent", tenant), ("tags", "keyword"), ("version", "integer"), ("until", "datetime")):
            self.target.create_payload_index(self.name, field, schema)  # type: ignore[arg-type] # a name is one too

    def teardown(self) -> None:
        for client in self.clients:
            client.delete_collection(self.name)

    @rule(batch=points)
    def write(self, batch: list[models.PointStruct]) -> None:
        for client in self.clients:
            client.upsert(self.name, batch, wait=True)

    @rule(batch=points, version=st.integers(0, 5))
    def write_what_is_newer(self, batch: list[models.PointStruct], version: int) -> None:
        older = models.Filter(must=[models.FieldCondition(key="version", range=models.Range(lt=version))])
        for client in self.clients:
            client.upsert(self.name, batch, update_filter=older, wait=True)

    @rule(some=st.lists(ids, min_size=1, max_size=3, unique=True))
    def remove(self, some: list[int]) -> None:
        for client in self.clients:
            client.delete(self.name, points_selector=some, wait=True)

    @rule(agent=agents, some=st.lists(ids, min_size=1, max_size=4, unique=True))
    def remove_of_an_agent(self, agent: str, some: list[int]) -> None:
        chosen = models.MinShould(
            conditions=[models.HasIdCondition(has_id=list(some)), having("tags", "x=1")], min_count=1
        )
        selector = models.FilterSelector(filter=models.Filter(must=only(agent).must, min_should=chosen))
        for client in self.clients:
            client.delete(self.name, points_selector=selector, wait=True)

    @rule(agent=agents, vector=dense, words=sparse, exact=sparse, tag=st.sampled_from(["x=1", "y=2"]))
    def ask(
        self, agent: str, vector: list[float], words: models.SparseVector, exact: models.SparseVector, tag: str
    ) -> None:
        ended = models.FieldCondition(key="until", range=models.DatetimeRange(lte="2026-03-01T00:00:00Z"))
        scope = models.Filter(must=[having("agent", agent, "c"), having("tags", tag, "z=3")], must_not=[ended])
        rarity = models.SearchParams(idf=models.IdfCorpusParams(corpus=only(agent)))
        for condition in (only(agent), scope):
            asked = [("dense", vector, None), ("words", words, rarity), ("identifiers", exact, None)]
            requests = [
                models.QueryRequest(
                    query=query, using=using, params=params, filter=condition, limit=EVERYTHING, with_payload=["tags"]
                )
                for using, query, params in asked
            ]
            ours, expected = (client.query_batch_points(self.name, requests) for client in self.clients)
            for (using, _, _), one, other in zip(asked, ours, expected, strict=True):
                assert {hit.id: (hit.score, hit.payload) for hit in one.points} == {
                    hit.id: (pytest.approx(hit.score, rel=1e-3, abs=1e-5), hit.payload) for hit in other.points
                }, using

    @invariant()
    def both_hold_the_same(self) -> None:
        ours, expected = (self._stored(client) for client in self.clients)
        assert ours == expected
        for agent in "ab":
            counts = {client.count(self.name, count_filter=only(agent)).count for client in self.clients}
            assert len(counts) == 1

    def _stored(self, client: QdrantClient) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        offset: Any = None
        while True:  # in pages, as the library walks a collection
            page, offset = client.scroll(self.name, limit=7, offset=offset, with_payload=True, with_vectors=True)
            found |= {point.id: (point.payload, _plain(point.vector)) for point in page}
            if offset is None:
                return found


def _plain(stored: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, vector in (stored or {}).items():
        if isinstance(vector, models.SparseVector):
            plain[name] = dict(zip(vector.indices, vector.values, strict=True))
        else:
            plain[name] = [round(each, 4) for each in vector]
    return plain


@pytest.fixture
def target(engine: Any) -> Iterator[QdrantClient]:
    url = os.environ.get("QDRANT_URL")
    client = QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY")) if url else engine.new_client()
    yield client
    client.close()


def play(target: QdrantClient, *, histories: int) -> None:
    with both(target) as machine:
        options = settings(
            max_examples=histories,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        )
        run_state_machine_as_test(machine, settings=options)


@contextmanager
def both(target: QdrantClient) -> Iterator[type[Both]]:
    """A machine that tells its history to `target` and to the client's mode in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the oracle has no effect of
        oracle = QdrantClient(":memory:")
        yield type("History", (Both,), {"target": target, "oracle": oracle})
        oracle.close()


def test_random_histories(target: QdrantClient) -> None:
    play(target, histories=4)


@pytest.mark.long
def test_many_random_histories(target: QdrantClient) -> None:
    play(target, histories=60)


def test_a_planted_fault_is_seen(target: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that forgets the condition of a write is caught."""
    real = QdrantClient.upsert

    def careless(self: QdrantClient, name: str, batch: Any, **options: Any) -> Any:
        options.pop("update_filter" if self is target else "", None)
        return real(self, name, batch, **options)

    newer, older = (
        [models.PointStruct(id=1, vector={"dense": [1.0] * DIM}, payload={"agent": "a", "version": version})]
        for version in (2, 1)
    )
    monkeypatch.setattr(QdrantClient, "upsert", careless)
    with both(target) as machine:
        history = machine()
        history.write(newer)
        history.both_hold_the_same()
        history.write_what_is_newer(older, 1)
        with pytest.raises(AssertionError):
            history.both_hold_the_same()
        history.teardown()


def test_an_alias_changes_hands_in_one_step(target: QdrantClient) -> None:
    names = [f"alias-{os.getpid()}-{number}" for number in (1, 2)]
    alias = f"alias-{os.getpid()}"
    try:
        for number, name in enumerate(names):
            target.create_collection(name, models.VectorParams(size=DIM, distance=models.Distance.COSINE))
            target.upsert(name, [models.PointStruct(id=number, vector=[1.0] * DIM)], wait=True)
            create = models.CreateAlias(collection_name=name, alias_name=alias)
            target.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
            assert [point.id for point in target.scroll(alias)[0]] == [number]
            known = {found.alias_name: found.collection_name for found in target.get_aliases().aliases}
            assert known[alias] == name
    finally:
        for name in names:
            target.delete_collection(name)
    assert not target.collection_exists(alias)
