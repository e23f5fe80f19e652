"""The comparison of the index as a scheduled job, and from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from agentstate.agent import Fleet
from agentstate.memory.facts.forget import ERASE_KIND
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.tables import jobs, memories
from agentstate.store.tables.base import db_time
from tests.stubs.job_handlers import run_job, task_module
from tests.worlds.commands import Command, agentstate

__all__ = ["agentstate"]

KIND = "embedding.verify_index"
FACTS = 30


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    opened = Runtime(settings)
    for name in opened.index.collections.list_generations():
        opened.index.collections.drop_collection(name)  # other tests' memories, whose rows are elsewhere
    agent = Fleet(opened).agent("ag_1")
    for number in range(FACTS):
        agent.memory.remember(f"fact {number}")
    opened.embedding.run_until_idle()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def handler() -> Any:
    return task_module("embedding").verify_index


def run_all(runtime: Runtime, handler: Any) -> list[dict[str, Any]]:
    """Run the job of a slot and those that follow from it; their results."""
    runtime.jobs.submit(KIND, {"slot": "now"})
    results = []
    while waiting := runtime.jobs.list(kind=KIND, status="ready"):
        results.append(run_job(runtime, waiting[0].id, handler))
    return results


def test_an_emptied_index_is_noticed_and_filled_again(runtime: Runtime, handler: Any) -> None:
    assert len(run_all(runtime, handler)) == 1
    place = runtime.index.collections
    place.drop_collection(place.list_generations()[0])
    place._ready_in = None
    results = run_all(runtime, handler)
    assert results[0]["points"] == 0
    assert [result["missing"] for result in results[1:]] == [FACTS]
    runtime.embedding.run_until_idle()
    assert runtime.index.count_points("ag_1") == FACTS
    assert Fleet(runtime).agent("ag_1").memory.watermark().waiting == 0


def test_the_job_of_a_forgetting_removes_what_a_redis_that_was_away_has(runtime: Runtime) -> None:
    agent, away = Fleet(runtime).agent("ag_1"), "redis://127.0.0.1:1/0"
    agent.episodes.record("bet", {"n": 1})
    agent.episodes.get_recent()
    with closing(Runtime(runtime.settings.model_copy(update={"redis_url": away}))) as cut_off:
        assert not Fleet(cut_off).agent("ag_1").memory.forget_all().complete
    later = agent.episodes.record("bet", {"n": 2})
    [job] = runtime.jobs.list(kind=ERASE_KIND)
    with runtime.store.transaction() as tx:
        tx.connection.execute(jobs.update().values(due_at=db_time(-1.0)))
    assert run_job(runtime, job.id, task_module("embedding").erase_forgotten) == {
        "removed": 0,
        "left": 0,
        "episodes": 2,
    }
    assert agent.episodes.get_recent() == [later]


def test_verify_tells_repairs_and_ends_with_1_when_it_may_not(runtime: Runtime, agentstate: Command) -> None:
    assert agentstate("index", "verify", "--json").json["sound"]
    with runtime.index.collections.open_ready_client() as client:
        page, _ = client.scroll(runtime.index.space, limit=3)
        client.delete(runtime.index.space, points_selector=[point.id for point in page])
    told = agentstate("index", "verify", "--no-repair")
    assert (told.code, "3 missing from the index" in told.out) == (1, True)
    repaired = agentstate("index", "verify", "--json")
    assert (repaired.code, repaired.json["missing"], repaired.json["repaired"]) == (0, 3, True)
    runtime.embedding.run_until_idle()
    assert agentstate("index", "verify", "--json").json["sound"]


def test_rebuild_switches_and_lists(runtime: Runtime, agentstate: Command) -> None:
    told = agentstate("index", "rebuild", "--json")
    assert told.code == 0, told.err
    assert (told.json["build"]["written"], told.json["compared"]["missing"]) == (FACTS, 0)
    assert "30 memories" in agentstate("index", "rebuild").out
    listed = agentstate("index", "list", "--json").json
    [serving] = [each for each in listed["collections"] if each["serves"] == listed["space"]]
    assert (serving["collection"], serving["points"]) == (f"{listed['space']}--3", FACTS)
    assert agentstate("index", "drop", serving["collection"]).code == 2
    assert agentstate("index", "drop", "memories-nowhere").code == 2
    assert agentstate("index", "switch-model").code == 2
    with runtime.index.collections.open_client() as client:
        runtime.index.collections.create_collection(client, "memories-old--1")
    assert agentstate("index", "drop", "memories-old--1").code == 0


def test_what_was_given_up_is_listed_and_revived(runtime: Runtime, agentstate: Command) -> None:
    with runtime.store.transaction() as tx:
        one = memories.c.content == "fact 7"
        given_up = memories.update().where(one).values(state="dead", searchable_at=None, error="no quota")
        tx.connection.execute(given_up)
    [dead] = agentstate("index", "dead", "--json").json["dead"]
    assert (dead["agent_id"], dead["error"]) == ("ag_1", "no quota")
    assert "no quota" in agentstate("index", "dead", "--agent", "ag_1").out
    assert agentstate("index", "revive", "--agent", "nobody", "--json").json == {"revived": 0}
    assert "1 memories wait again" in agentstate("index", "revive").out
    runtime.embedding.run_until_idle()
    assert Fleet(runtime).agent("ag_1").memory.watermark().dead == 0
