"""`AgentStore` does what LangGraph says of a store: its own store in memory is the oracle of random operations."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from agentstate.agent import Fleet
from agentstate.errors import InvalidInput, TooLarge
from agentstate.runtime import Runtime

pytest.importorskip("langgraph.store.base")

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from agentstate.integrations.langgraph import AgentStore

SPACES = (("users",), ("users", "ada"), ("users", "bob"), ("docs", "v1"), ("docs", "v1", "draft"), ("docs",))


@pytest.fixture
def store(runtime: Runtime) -> AgentStore:
    return AgentStore(Fleet(runtime).agent("ag_graph"))


def plain(item: Item | None) -> Any:
    return None if item is None else (item.namespace, item.key, item.value)


def random_op(rng: random.Random) -> Any:
    space, key = rng.choice(SPACES), rng.choice(["k1", "k.2", "key three", "é"])
    value = {"kind": rng.choice("ab"), "size": rng.choice([1, 2.5, 3]), "tags": ["x", rng.choice("yz")], "none": None}
    filters: list[dict[str, Any] | None] = [
        None,
        {"kind": "a"},
        {"size": {"$gt": 1, "$lte": 2.5}},
        {"kind": {"$ne": "b"}, "tags": ["x", "y"]},
    ]
    conditions = [
        None,
        (MatchCondition("prefix", ("users", "*")),),
        (MatchCondition("suffix", ("v1",)), MatchCondition("prefix", ("docs",))),
    ]
    return rng.choices(
        [
            PutOp(space, key, value),
            PutOp(space, key, None),
            GetOp(space, key),
            SearchOp(space[:1], rng.choice(filters), limit=100),
            ListNamespacesOp(rng.choice(conditions), max_depth=rng.choice([None, 1, 2])),
        ],
        weights=[6, 1, 4, 2, 2],
    )[0]


def same(op: Any, ours: Any, expected: Any) -> bool:
    if isinstance(op, SearchOp):  # the order without a query is each store's own
        return sorted(map(repr, map(plain, ours))) == sorted(map(repr, map(plain, expected)))
    if isinstance(op, ListNamespacesOp):
        return set(ours) == set(expected)
    return bool(plain(ours) == plain(expected))


@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations_answer_as_langgraphs_own_store_does(store: AgentStore, seed: int) -> None:
    rng, oracle = random.Random(seed), InMemoryStore()
    for _ in range(25):
        ops = [random_op(rng) for _ in range(rng.randint(1, 4))]
        ops.sort(key=lambda op: not isinstance(op, ListNamespacesOp))  # to look for an item makes the oracle list it
        for op, ours, expected in zip(ops, store.batch(ops), oracle.batch(ops), strict=True):
            assert same(op, ours, expected), op
        for space, items in list(oracle._data.items()):  # it would go on to list a namespace that lost its last item
            if not items:
                del oracle._data[space]


def test_items_keep_their_first_time(store: AgentStore) -> None:
    store.put(("a",), "k", {"n": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"n": 1.5})
    second = store.get(("a",), "k")
    assert first is not None
    assert second is not None
    assert (second.value, second.created_at) == ({"n": 1.5}, first.created_at)
    assert second.updated_at > first.updated_at == first.created_at


def test_a_value_that_comes_again_holds_again(store: AgentStore) -> None:
    for number in (1, 2, 1):
        store.put(("a",), "k", {"n": number})
    item = store.get(("a",), "k")
    assert item is not None
    assert item.value == {"n": 1}
    assert len(store.search(("a",))) == 1


def test_queries_find_items_in_and_below_a_namespace(store: AgentStore, runtime: Runtime) -> None:
    store.put(("users", "ada"), "likes", {"text": "She paints landscapes", "level": 3})
    store.put(("users", "bob"), "likes", {"text": "He paints portraits", "level": 5})
    store.put(("docs",), "d", {"text": "How to paint a wall", "level": 3})
    store.put(("users", "bob"), "secret", {"text": "paints at night"}, index=False)
    for _ in range(2):
        found = store.search(("users",), query="who paints?")
        assert {item.namespace for item in found} == {("users", "ada"), ("users", "bob")}
        assert all(item.score is not None and item.score > 0 for item in found)
        assert [item.key for item in store.search(("users", "ada"), query="paints")] == ["likes"]
        assert [plain(item) for item in store.search((), query="paint", filter={"level": {"$gt": 4}})] == [
            (("users", "bob"), "likes", {"text": "He paints portraits", "level": 5})
        ]
        assert len(store.search((), query="paint", limit=1, offset=1)) == 1
        assert store.search((), query="zeppelin") == []
        runtime.embedding.run_until_idle()
    assert {item.key for item in store.search(("users", "bob"))} == {"likes", "secret"}


def test_only_the_named_fields_are_searched(runtime: Runtime) -> None:
    store = AgentStore(Fleet(runtime).agent("ag_fields"), fields=["title", "notes[*].text"])
    store.put(("n",), "k", {"title": "Gold", "notes": [{"text": "rises"}, {"text": "falls"}], "body": "silver"})
    store.put(("n",), "other", {"body": "silver"}, index=["body"])
    assert [item.key for item in store.search(("n",), query="gold rises falls")] == ["k"]
    assert [item.key for item in store.search(("n",), query="silver")] == ["other"]


def test_deleted_items_leave_nothing(store: AgentStore, runtime: Runtime) -> None:
    for number in range(3):
        store.put(("a",), "k", {"text": f"gold {number}"})
    runtime.embedding.run_until_idle()
    store.delete(("a",), "k")
    assert store.get(("a",), "k") is None
    assert store.search(("a",)) == store.search(("a",), query="gold") == []
    assert list(runtime.memory.of("ag_graph").export()) == []


def test_agents_are_apart(store: AgentStore, runtime: Runtime) -> None:
    store.put(("a",), "k", {"text": "gold"})
    other = AgentStore(Fleet(runtime).agent("ag_other"))
    assert other.get(("a",), "k") is None
    assert other.search((), query="gold") == other.search(()) == []
    assert other.list_namespaces() == []


def test_the_asynchronous_verbs_are_the_same(store: AgentStore) -> None:
    async def live() -> Any:
        await store.aput(("a", "b"), "k", {"text": "gold"})
        found = await store.asearch(("a",), query="gold")
        names = await store.alist_namespaces()
        item = await store.aget(("a", "b"), "k")
        await store.adelete(("a", "b"), "k")
        return [each.key for each in found], names, plain(item), await store.aget(("a", "b"), "k")

    assert asyncio.run(live()) == (["k"], [("a", "b")], (("a", "b"), "k", {"text": "gold"}), None)


def test_what_cannot_be_stored_is_refused_and_nothing_with_it(store: AgentStore) -> None:
    good = PutOp(("a",), "good", {"n": 1})
    for wrong, error in (
        (PutOp(("a",), "k", {"n": float("nan")}), InvalidInput),
        (PutOp(("a",), "k", {"n": object()}), InvalidInput),
        (PutOp(("a",), "k", {"text": "x" * 400_000}), TooLarge),
        (PutOp(("a.b",), "k", {"n": 1}), InvalidNamespaceError),
    ):
        with pytest.raises(error):
            store.batch([good, wrong])
    assert store.search(()) == []
    with pytest.raises(NotImplementedError):
        store.put(("a",), "k", {"n": 1}, ttl=5)


def test_an_unknown_operator_is_refused(store: AgentStore) -> None:
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(InvalidInput, match=r"\$near"):
        store.search(("a",), filter={"n": {"$near": 1}})
