"""An agent's state by the front door, and the job that brings stored states to the newest schema."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import partial
from types import ModuleType

import pytest

from agentstate.agent import Fleet
from agentstate.errors import Conflict
from agentstate.jobs import JobRunner, JobStatus
from agentstate.jobs.kinds import KINDS
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.state import versions
from agentstate.state.agent_state import CURRENT_SCHEMA, AgentState
from schedules.entries import beat_schedule
from tests.stubs.job_handlers import task_module

KIND = "state.migrate_stored"


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The task's module, with slices of two agents."""
    module: ModuleType = task_module("housekeeping")
    monkeypatch.setattr(module, "MIGRATE_SLICE", 2)
    return module


def test_an_agents_state_in_a_few_lines(runtime: Runtime) -> None:
    agent = Fleet(runtime).agent("ag_front")
    assert agent.state.load() is None
    first = agent.state.save(AgentState(agent_id=agent.id, portfolio={"usdc": Decimal("2.50")}))
    second = agent.state.update(lambda state: replace(state, session_count=state.session_count + 1))
    assert agent.state.load() == second
    assert agent.state.load(version=1) == first
    assert [save.version for save in agent.state.history()] == [2, 1]
    with pytest.raises(Conflict):
        agent.state.save(first)


def test_the_job_migrates_all_states_slice_by_slice(runtime: Runtime, task: ModuleType) -> None:
    agents = [f"ag_{number}" for number in range(5)]
    for agent_id in agents:
        with runtime.store.transaction() as tx:
            blob = {"agent_id": agent_id, "balance": Decimal(1)}
            now = versions.lock_head(tx, agent_id)
            versions.append_version(tx, agent_id, now, schema_version=1, state=blob, cause=versions.SAVE)
    runtime.jobs.submit(KIND, {"slot": "s1"}, dedupe_key="slot:s1")
    results = []
    while waiting := runtime.jobs.list(status=JobStatus.READY, kind=KIND):
        [job] = waiting
        JobRunner(runtime.store).run_job(job.id, KINDS[KIND], partial(task.migrate_stored, runtime))
        results.append(runtime.jobs.get(job.id).result)
    assert results == [{"migrated": count, "refused": {}} for count in (2, 2, 1)]
    for agent_id in agents:
        newest = Fleet(runtime).agent(agent_id).state.history()[0]
        assert (newest.schema_version, newest.cause) == (CURRENT_SCHEMA, "migration")


def test_the_job_is_on_the_schedule(settings: Settings) -> None:
    assert [entry["args"][0] for entry in beat_schedule(settings).values() if KIND in entry["args"]] == [KIND]
