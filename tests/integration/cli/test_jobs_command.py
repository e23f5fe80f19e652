"""`agentstate jobs`: what it lists is what is there, and what it handles is handled."""

from __future__ import annotations

import os
from uuid import UUID, uuid4

import pytest

from agentstate.jobs import Jobs, JobStatus, table
from agentstate.jobs.kinds import KINDS
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.settings import Settings
from agentstate.store import Store
from tests.worlds.commands import Command


@pytest.fixture
def jobs(store: Store, settings: Settings) -> Jobs:
    return Jobs(store, NullWakeUpSender(), settings)


@pytest.fixture
def dead(jobs: Jobs, store: Store) -> list[UUID]:
    """Three dead jobs: two of one kind, one of another."""
    made = [
        jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_1"),
        jobs.submit("cache.refresh", {"service": "wallet"}, agent_id="ag_2"),
        jobs.submit("reconciliation.reconcile", {"service": "wallet"}, agent_id="ag_2"),
    ]
    with store.transaction() as tx:
        for job in made:
            table.end_unclaimed(tx, job, JobStatus.DEAD, error="ServiceUnreachable: nobody\nthere")
    return made


def ids(answer: dict[str, list[dict[str, str]]]) -> set[str]:
    return {job["id"] for job in answer["jobs"]}


def test_an_empty_table_is_said_in_words_and_in_json(agentstate: Command) -> None:
    assert agentstate("jobs", "list").out == "no jobs match\n"
    assert agentstate("jobs", "list", "--json").json == {"jobs": []}


def test_jobs_are_listed_by_what_is_asked(agentstate: Command, jobs: Jobs, dead: list[UUID]) -> None:
    waiting = jobs.submit("cache.refresh", {"service": "faucet"}, agent_id="ag_2")
    assert ids(agentstate("jobs", "list", "--json").json) == {str(job) for job in (*dead, waiting)}
    assert ids(agentstate("jobs", "list", "--status", "ready", "--json").json) == {str(waiting)}
    assert ids(agentstate("jobs", "dead", "--kind", "cache.refresh", "--json").json) == {str(dead[0]), str(dead[1])}
    assert ids(agentstate("jobs", "dead", "--agent", "ag_2", "--json").json) == {str(dead[1]), str(dead[2])}
    assert len(agentstate("jobs", "list", "--limit", "2", "--json").json["jobs"]) == 2


def test_dead_jobs_are_shown_with_their_cause_on_one_line(agentstate: Command, dead: list[UUID]) -> None:
    lines = agentstate("jobs", "dead").out.splitlines()
    assert len(lines) == 1 + len(dead)
    assert all("ServiceUnreachable: nobody there" in line for line in lines[1:])


def test_one_job_is_shown_whole(agentstate: Command, dead: list[UUID]) -> None:
    shown = agentstate("jobs", "show", str(dead[0]), "--json").json
    assert (shown["id"], shown["status"], shown["payload"]) == (str(dead[0]), "dead", {"service": "casino"})
    assert "error:" in agentstate("jobs", "show", str(dead[0])).out


@pytest.mark.parametrize("job", [str(uuid4()), "not-an-id"], ids=["unknown", "malformed"])
def test_a_job_that_is_not_there_is_an_error(agentstate: Command, job: str) -> None:
    answer = agentstate("jobs", "show", job)
    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert job in answer.err


def test_dead_jobs_are_requeued_by_id(agentstate: Command, jobs: Jobs, dead: list[UUID]) -> None:
    answer = agentstate("jobs", "requeue", str(dead[0]), str(dead[2]), "--json")
    assert answer.json == {"requeued": [str(dead[0]), str(dead[2])], "count": 2, "refused": []}
    assert [jobs.get(job).status for job in dead] == ["ready", "dead", "ready"]
    assert jobs.get(dead[0]).attempts == 0


def test_what_cannot_be_requeued_is_told_and_the_rest_is_done(
    agentstate: Command, jobs: Jobs, dead: list[UUID]
) -> None:
    waiting = jobs.submit("cache.refresh", {"service": "faucet"}, agent_id="ag_2")
    answer = agentstate("jobs", "requeue", str(waiting), str(dead[0]), "--json")
    assert answer.code == 1
    assert answer.json["requeued"] == [str(dead[0])]
    assert answer.json["refused"][0]["id"] == str(waiting)
    assert agentstate("jobs", "requeue", str(waiting)).err.startswith("error: job")


def test_all_dead_jobs_of_a_kind_are_requeued(agentstate: Command, jobs: Jobs, dead: list[UUID]) -> None:
    assert agentstate("jobs", "requeue", "--all", "--kind", "cache.refresh", "--json").json == {"count": 2}
    assert [jobs.get(job).status for job in dead] == ["ready", "ready", "dead"]
    assert agentstate("jobs", "requeue", "--all").out == "requeued 1 dead job\n"


def test_requeued_jobs_are_woken_by_the_next_sweep(agentstate: Command, store: Store, dead: list[UUID]) -> None:
    agentstate("jobs", "requeue", "--all")
    with store.transaction() as tx:
        lanes = table.count_due_by_lane(tx)
        unwoken = [job for lane in lanes for job in table.lock_unwoken(tx, *lane, KINDS, limit=10)]
        assert {job.id for job in unwoken} == set(dead)


def test_discarding_keeps_the_reason_and_the_cause(agentstate: Command, jobs: Jobs, dead: list[UUID]) -> None:
    assert agentstate("jobs", "discard", str(dead[0]), "--reason", "too late").out == f"discarded {dead[0]}\n"
    assert (jobs.get(dead[0]).status, jobs.get(dead[0]).error) == ("discarded", "too late")
    assert agentstate("jobs", "discard", "--all", "--reason", "cleared").code == 0
    assert jobs.get(dead[1]).status == "discarded"
    assert jobs.get(dead[1]).error == "cleared; died of: ServiceUnreachable: nobody\nthere"


def test_ids_of_jobs_are_completed(agentstate: Command, jobs: Jobs, dead: list[UUID]) -> None:
    waiting = jobs.submit("cache.refresh", {"service": "faucet"}, agent_id="ag_2")
    words = {"_AGENTSTATE_COMPLETE": "bash_complete", "COMP_WORDS": "agentstate jobs requeue ", "COMP_CWORD": "3"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in words.items():
            patch.setitem(os.environ, name, value)
        offered = agentstate().out
    assert set(offered.split()) == {f"plain,{job}" for job in dead}
    assert str(waiting) not in offered
