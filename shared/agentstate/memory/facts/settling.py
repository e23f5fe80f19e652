"""How far what was taken in has settled: memories in the index, and conversations that wait for a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa

from agentstate.errors import WaitTimeout
from agentstate.jobs.job import JobStatus
from agentstate.store.store import Store
from agentstate.store.tables import conversations, jobs, memories

SUMMARIZE = "summarization.summarize_conversation"
_FIRST_POLL_S = 0.05
_SLOWEST_POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Where the memories and conversations of some agents stand."""

    memories: int
    searchable: int
    dead: int
    """Memories that were given up; they stay stored."""
    conversations: int
    summarized: int
    """Conversations with a summary; a short one needs none."""
    summaries_due: int
    """Summaries that are asked for and not made yet."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way any more."""
        return self.searchable + self.dead >= self.memories and self.summaries_due == 0

    def __str__(self) -> str:
        told = f"{self.searchable:,} of {self.memories:,} memories searchable"
        given_up = f", {self.dead:,} given up" if self.dead else ""
        due = f", {self.summaries_due:,} summaries under way" if self.summaries_due else ""
        return f"{told}{given_up}, {self.summarized:,} of {self.conversations:,} conversations summarized{due}"


def read_settling(store: Store, agents: Collection[str]) -> Settling:
    """Where the memories and conversations of `agents` stand now."""
    mine = list(agents)
    state, at_work = memories.c.state, jobs.c.status.in_([JobStatus.READY, JobStatus.RUNNING])
    count = sa.func.count()
    with store.read_connection() as connection:
        stored = connection.execute(
            sa.select(count, count.filter(state == "searchable"), count.filter(state == "dead")).where(
                memories.c.agent_id.in_(mine)
            )
        ).one()
        held = connection.execute(
            sa.select(count, count.filter(conversations.c.summary_number > 0)).where(conversations.c.agent_id.in_(mine))
        ).one()
        due = connection.execute(
            sa.select(count).select_from(jobs).where(jobs.c.kind == SUMMARIZE, jobs.c.agent_id.in_(mine), at_work)
        ).scalar_one()
    return Settling(
        memories=stored[0],
        searchable=stored[1],
        dead=stored[2],
        conversations=held[0],
        summarized=held[1],
        summaries_due=due,
    )


def wait_until_settled(
    store: Store,
    agents: Collection[str],
    *,
    timeout_s: float,
    progress: Callable[[Settling], None] = lambda _now: None,
) -> Settling:
    """Return once nothing of `agents` is under way; `progress` is told at every look.

    Raises:
        WaitTimeout: something still is after `timeout_s` seconds; it goes on.
    """
    deadline, pause = time.monotonic() + timeout_s, _FIRST_POLL_S
    while not (now := read_settling(store, agents)).is_settled:
        progress(now)
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"{now} after {timeout_s:g} seconds; what was stored is kept, and the work goes on.")
        time.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL_S)
    progress(now)
    return now
