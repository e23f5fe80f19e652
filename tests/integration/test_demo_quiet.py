"""What the demonstration takes for open, and for a leak: neither an appointment nor a long memory is one."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.agent import Fleet
from agentstate.runtime import Runtime
from agentstate.store.tables import memories
from deploy.local.demo.audits import find_index_leaks
from deploy.local.demo.scenario import list_open_work

LONG = "Flat stakes beat doubling up in volatile weeks, and fees eat what is left of it. " * 800


def test_a_job_that_is_due_is_open_and_one_for_tomorrow_is_not(runtime: Runtime) -> None:
    agent = Fleet(runtime).agent("ag_1")
    with runtime.store.transaction() as tx:
        now = tx.now()
    runtime.jobs.submit("summarization.draw_lessons", agent_id=agent.id, due_in=86_400.0)
    assert list_open_work(runtime, now) == []
    runtime.jobs.submit("summarization.draw_lessons", agent_id=agent.id, due_in=20.0)
    assert list_open_work(runtime, now) == ["job summarization.draw_lessons of ag_1 is ready, attempt 0"]


def test_a_long_memory_has_several_points_of_its_agent(runtime: Runtime) -> None:
    """Whatever else is in the index, which other tests use too."""

    def leaks() -> list[str]:
        return [leak for leak in find_index_leaks(runtime)[0] if "ag_long's in the index" in leak]

    stored = Fleet(runtime).agent("ag_long").memory.remember(LONG)
    runtime.embedding.run_until_idle()
    assert leaks() == []
    with runtime.store.transaction() as tx:
        tx.connection.execute(sa.update(memories).where(memories.c.id == stored.id).values(agent_id="ag_other"))
    assert len(leaks()) > 1
