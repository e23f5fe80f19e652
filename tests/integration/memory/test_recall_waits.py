"""What recall does not wait for: the index while the query is embedded, and a plan that the database has made."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.qdrant_index import MemoryIndex
from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer
from tests.worlds.memories import HashedWords, World

pytestmark = pytest.mark.database("postgres")

PLANS = "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT%%FROM memories%%ANY%%'"


class AnotherIndex(LoopbackServer):
    """Takes a search, and then cannot serve it."""

    def __init__(self) -> None:
        super().__init__(_Searches)
        self.asked = threading.Event()


class _Searches(LoopbackHandler):
    def do_POST(self) -> None:  # noqa: N802 the name that the server calls
        self.read_content()
        self.stub.asked.set()
        self.send_answer(503, b"{}")


class Patient(HashedWords):
    """Embeds a query only when the index was asked."""

    asked: threading.Event
    in_time = False

    def embed_query(self, text: str) -> NDArray[np.float32]:
        self.in_time = self.asked.wait(30)
        return super().embed_query(text)


def test_the_query_is_embedded_while_the_index_looks_for_words(world: World) -> None:
    world.embedder = embedder = Patient(world.embedder.space)
    with AnotherIndex() as stub:
        embedder.asked = stub.asked
        client = open_qdrant(stub.url)
        world.index = MemoryIndex(client, embedder.space)
        world.index.collections._ready_in = os.getpid()  # the stub has no collections
        hits = world.memory.of("a").recall("coin flip")
        client.close()
    assert embedder.in_time
    assert "cannot serve" in (hits.degraded or "")


def test_an_embedder_with_a_bug_is_not_taken_for_an_index_that_is_down(world: World) -> None:
    world.memory.remember_many([NewMemory(agent_id="a", content="The coin flip pays 1.98 times the stake")])
    world.embedder.answers = [ValueError("a bug")]
    with pytest.raises(ValueError, match="a bug"):
        world.memory.of("a").recall("coin flip")
    assert len(world.memory.of("a").recall("coin flip")) == 1


def test_the_database_plans_once_what_recall_reads(world: World) -> None:
    texts = [f"round {number}" for number in range(300)]
    world.memory.remember_many([NewMemory(agent_id="a", content=text) for text in texts])
    world.pipeline().run_until_idle()
    with world.store.transaction() as tx:
        tx.connection.exec_driver_sql("ANALYZE memories")
    for text in texts[:30]:
        world.memory.of("a").recall(text)
    with world.store.read_connection() as connection:
        assert all(plans > 10 for plans in sorted(connection.exec_driver_sql(PLANS).scalars())[-2:])
