"""The wall between agents: everything that one remembers, and nothing of it on any path of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.agent import Agent, Fleet
from agentstate.errors import AgentStateError
from agentstate.memory.embedding.embed_texts import text_sha
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.facts.records import MemoryRows, NewMemory
from agentstate.memory.facts.service import AgentMemory, Receipt
from tests.integration.memory.test_chunks import LONG
from tests.worlds.memories import World

pytestmark = pytest.mark.database("postgres")

SECRET = "zebra"  # pragma: allowlist secret
CONTENT = f"The vault code is {SECRET}-77"
OWN = "My own vault is green"
QUERY = "what is the vault code zebra-77?"


@pytest.fixture
def walled(world: World) -> World:
    """A knows a secret, in every shape there is; B knows something near it."""
    world.memory.of("a").namespaces.create("desk")
    world.memory.of("a").remember(CONTENT, subject="vault", metadata={"note": SECRET})
    world.memory.of("a").remember(f"{CONTENT}!", kind="lesson", namespace="desk")
    world.memory.of("a").remember(f"{LONG} {SECRET}")
    world.memory.of("b").remember(OWN)
    world.pipeline().run_until_idle()
    world.memory.of("a").remember(f"{CONTENT}, not indexed yet")
    return world


class OneWorld:
    """A runtime that is the test's world."""

    def __init__(self, world: World) -> None:
        self.memory, self.jobs, self.store = world.memory, world.jobs, world.store


def agent(world: World, name: str) -> Agent:
    runtime: Any = OneWorld(world)
    return Fleet(runtime).agent(name)


def first_of_a(world: World) -> Any:
    return next(world.memory.of("a").export())


PATHS: dict[str, Callable[[World, AgentMemory], object]] = {
    "recall": lambda _world, memory: [memory.recall(query, 50) for query in (QUERY, SECRET, "vault", CONTENT)],
    "statements": lambda _world, memory: memory.statements("vault"),
    "believed": lambda _world, memory: memory.believed("vault"),
    "watermark": lambda _world, memory: memory.watermark().dead,
    "export": lambda _world, memory: list(memory.export()),
    "forget": lambda world, memory: refused(lambda: memory.forget(first_of_a(world).id)),
    "forget_all": lambda _world, memory: memory.forget_all(),
    "remember": lambda _world, memory: memory.remember("a word", namespace=None).outcome,
    "remember_many": lambda _world, memory: [
        memory.remember_many([NewMemory(content="two words")])[0].outcome,
        refused(lambda: memory.remember_many([NewMemory(agent_id="a", content="a word")])),
    ],
    "wait_searchable": lambda _world, memory: memory.wait_searchable([]),
    "find": lambda world, memory: memory.find(first_of_a(world).id),
    "get": lambda world, memory: refused(lambda: memory.get(first_of_a(world).id)),
    "list": lambda _world, memory: memory.list(1_000),
    "iterate_held": lambda _world, memory: list(memory.iterate_held(("fact", "lesson"))),
    "namespaces": lambda _world, memory: memory.namespaces.list(),
}
"""Every verb of an agent's memory; a new one has to be added."""

SHARED_PATHS: dict[str, Callable[[World, AgentMemory], object]] = {
    "recall": lambda _world, memory: memory.recall(QUERY, namespaces=["desk"]),
    "statements": lambda _world, memory: memory.statements("vault", namespaces=["desk"]),
    "believed": lambda _world, memory: memory.believed("vault", namespaces=["desk"]),
    "export": lambda _world, memory: list(memory.export(namespaces=["desk"])),
    "remember": lambda _world, memory: memory.remember("a word", namespace="desk"),
    "get": lambda world, memory: memory.get(first_of_a(world).id, namespaces=["desk"]),
    "find": lambda world, memory: memory.find(first_of_a(world).id, namespaces=["desk"]),
    "list": lambda _world, memory: memory.list(namespaces=["desk"]),
}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(AgentStateError) as told:
        call()
    return str(told.value)


def test_every_verb_is_walked() -> None:
    assert {name for name in vars(AgentMemory) if not name.startswith("_")} == set(PATHS)


def test_no_verb_gives_another_agents_memory(walled: World) -> None:
    for name, path in PATHS.items():
        assert SECRET not in repr(path(walled, agent(walled, "b").memory)), name
    assert len(list(walled.memory.of("a").export())) == 3
    assert walled.memory.of("a").recall(QUERY)[0].content.startswith(CONTENT)


def test_a_namespace_that_is_not_shared_is_refused_on_every_path(walled: World) -> None:
    mine = agent(walled, "b").memory
    for name, path in SHARED_PATHS.items():
        assert SECRET not in refused(lambda path=path: path(walled, mine)), name  # type: ignore[misc]


def test_the_index_is_asked_for_one_agent_alone(walled: World) -> None:
    assert walled.index.count_points("b") == 1
    assert walled.index.count_points("nobody") == 0
    walled.index.erase_memories("b", [first_of_a(walled).id])
    walled.index.erase_unknown("b", keep=set)
    assert walled.index.count_points("a") > 1


def test_the_vectors_of_one_agents_texts_are_not_another_agents(walled: World) -> None:
    walled.memory.of("b").remember(CONTENT)
    backlog = EmbeddingBacklog(walled.store)
    batch = backlog.claim_batch(10, lease_s=60)
    mine = [memory for memory in batch.memories if memory.agent_id == "b"]
    assert [memory.content for memory in mine] == [CONTENT]
    assert backlog.read_vectors(mine, walled.index.space, [text_sha(CONTENT)]) == {}


def test_the_jobs_of_one_agent_are_not_another_agents(walled: World) -> None:
    walled.memory.of("a").forget(first_of_a(walled).id)
    [job] = agent(walled, "a").jobs.list()
    assert agent(walled, "b").jobs.list() == []
    refused(lambda: agent(walled, "b").jobs.get(job.id))


def test_the_same_content_of_two_agents_is_two_memories(walled: World) -> None:
    receipt: Receipt = agent(walled, "b").memory.remember(CONTENT, subject="vault", metadata={"note": "mine"})
    assert receipt.outcome == "new"
    assert receipt.supersedes is None
    believed = walled.memory.of("a").believed("vault")
    assert believed is not None
    assert believed.metadata == {"note": SECRET}


def test_the_walk_sees_a_missing_filter(walled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def for_all(rows: MemoryRows, connection: sa.Connection, _tenants: object) -> None:
        rows._connection, rows._tenants = connection, ["a", "b", "/desk"]

    monkeypatch.setattr(MemoryRows, "__init__", for_all)
    for name in ("recall", "statements", "believed", "export", "find", "list", "iterate_held"):
        assert SECRET in repr(PATHS[name](walled, agent(walled, "b").memory)), name


def test_the_index_is_never_searched_without_the_agent(walled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def note_calls(of: object, verb: str) -> None:
        real = getattr(of, verb)

        def noted(*arguments: object, **options: object) -> object:
            seen.append((verb, repr((arguments, options))))
            return real(*arguments, **options)

        monkeypatch.setattr(of, verb, noted)

    client = walled.index.collections.client
    for verb in ("count", "scroll", "query_points", "query_points_groups"):
        note_calls(client, verb)
    note_calls(client.http.client, "request")  # what recall asks by, and the verbs of the client in the end
    PATHS["recall"](walled, agent(walled, "b").memory)
    walled.index.count_points("b")
    walled.index.erase_memories("b", [first_of_a(walled).id])
    walled.index.erase_unknown("b", keep=set)
    # Deletes and counts arrive twice, once by name; what lists the collections finds no memory.
    seen = [call for call in seen if "/collections/" in call[1] or call[0] != "request"]
    assert {verb for verb, _ in seen} == {"request", "count", "scroll"}
    assert any("points/query/batch" in call for _, call in seen)
    assert [call for call in seen if "agent_id" not in call[1]] == []
