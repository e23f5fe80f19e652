"""Progress of memories and conversations, counted in the durable store: by agent, and until all work is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import WaitTimeout
from agentstate.jobs.job import JobStatus
from agentstate.store.store import Store
from agentstate.store.tables import conversations, jobs, memories

SUMMARIZE_KIND = "summarization.summarize_conversation"
_FIRST_POLL_S = 0.05
_SLOWEST_POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class MemoryCounts:
    """One agent's memories by state; `stored` counts all of them."""

    agent_id: str
    stored: int
    searchable: int
    pending: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class ConversationCounts:
    """One agent's conversations, their turns, and how many of the turns a summary covers."""

    agent_id: str
    conversations: int
    turns: int
    summarized: int
    summaries: int


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """The progress of one agent's memories towards being searchable."""

    searchable_to: int
    """Everything accepted up to this number (`Receipt.seq`) is searchable, or given up."""
    newest: int
    """The newest memory's number, 0 when there is none."""
    waiting: int
    dead: int
    """Given up; they stay stored and are found by their words."""


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Progress of the memories and conversations of some agents."""

    memories: int
    searchable: int
    dead: int
    """Memories that were given up; they stay stored."""
    conversations: int
    summarized: int
    """Conversations with a summary; a short one needs none."""
    summaries_due: int
    """Summaries that were requested and are not made yet."""

    @property
    def is_settled(self) -> bool:
        """Whether no work is left."""
        return self.searchable + self.dead >= self.memories and self.summaries_due == 0

    def __str__(self) -> str:
        text = f"{self.searchable:,} of {self.memories:,} memories searchable"
        given_up = f", {self.dead:,} given up" if self.dead else ""
        due = f", {self.summaries_due:,} summaries under way" if self.summaries_due else ""
        return f"{text}{given_up}, {self.summarized:,} of {self.conversations:,} conversations summarized{due}"


def read_watermark(connection: Connection, agent_id: str) -> Watermark:
    """Return the watermark of one agent."""
    state, count = memories.c.state, sa.func.count()
    waits = state.in_(["stored", "embedded"])
    query = sa.select(
        sa.func.min(memories.c.seq).filter(waits),
        sa.func.coalesce(sa.func.max(memories.c.seq), 0),
        count.filter(waits),
        count.filter(state == "dead"),
    ).where(memories.c.agent_id == agent_id)
    first, newest, waiting, dead = connection.execute(query).one()
    searchable_to = newest if first is None else first - 1
    return Watermark(searchable_to=searchable_to, newest=newest, waiting=waiting, dead=dead)


def count_memories(connection: Connection, *, agent_id: str | None = None) -> list[MemoryCounts]:
    """Return the counts of each agent, by name; of one agent if given."""
    stored = sa.func.count()
    searchable, dead = stored.filter(memories.c.state == "searchable"), stored.filter(memories.c.state == "dead")
    columns = (stored.label("stored"), searchable.label("searchable"), dead.label("dead"))
    query = sa.select(memories.c.agent_id, *columns, (stored - searchable - dead).label("pending"))
    query = query.group_by(memories.c.agent_id).order_by(memories.c.agent_id)
    if agent_id is not None:
        query = query.where(memories.c.agent_id == agent_id)
    return [MemoryCounts(**row) for row in connection.execute(query).mappings()]


def count_conversations(connection: Connection, *, agent_id: str | None = None) -> list[ConversationCounts]:
    """Return the counts of each agent, by name; of one agent if given."""
    sums = {"turns": "turns", "summarized": "summarized_to", "summaries": "summary_number"}
    query = sa.select(
        conversations.c.agent_id,
        sa.func.count().label("conversations"),
        *(sa.cast(sa.func.sum(conversations.c[column]), sa.BigInteger).label(name) for name, column in sums.items()),
    )
    query = query.group_by(conversations.c.agent_id).order_by(conversations.c.agent_id)
    if agent_id is not None:
        query = query.where(conversations.c.agent_id == agent_id)
    return [ConversationCounts(**row) for row in connection.execute(query).mappings()]


def read_settling(store: Store, agents: Collection[str]) -> Settling:
    """Return the progress of the memories and conversations of `agents`."""
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
            sa.select(count).select_from(jobs).where(jobs.c.kind == SUMMARIZE_KIND, jobs.c.agent_id.in_(mine), at_work)
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
    """Return once no work for `agents` is left; `progress` is called at every check.

    Raises:
        WaitTimeout: some is left after `timeout_s` seconds; it continues in the background.
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
