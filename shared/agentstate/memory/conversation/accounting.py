"""The account of a conversation: where each of its turns is. A turn that is nowhere would be lost.

Each turn is verbatim in the messages, covered by a summary that lists it, or queued: open, with a job that waits or
runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.messages import Messages
from agentstate.store.store import Store
from agentstate.store.tables import jobs, summaries

SUMMARIZE = "summarization.summarize_conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Numbers of the turns by where they are; a turn may be in several places, and must be in one."""

    turns: int
    covered: frozenset[int]
    """In the chain of summaries that ends with the one in force, each of which lists what it read."""
    verbatim: frozenset[int]
    queued: frozenset[int]

    @property
    def turns_lost(self) -> list[int]:
        """Turns that are nowhere; a healthy conversation has none."""
        return sorted(set(range(1, self.turns + 1)) - self.covered - self.verbatim - self.queued)


def account_turns(store: Store, conversation_id: UUID, messages: Messages) -> Accounting:
    """Return the present account; `messages` are those for the model."""
    with store.read_connection() as connection:
        conversation = rows.find_conversation(connection, conversation_id)
        if conversation is None:
            return Accounting(turns=0, covered=frozenset(), verbatim=frozenset(), queued=frozenset())
        covered = _covered(connection, conversation_id, conversation.summary_number)
        waiting = _has_job(connection, str(conversation_id))
    first = messages.verbatim_from or conversation.turns + 1
    return Accounting(
        turns=conversation.turns,
        covered=frozenset(covered),
        verbatim=frozenset(range(first, conversation.turns + 1)),
        queued=frozenset(range(conversation.summarized_to + 1, conversation.turns + 1) if waiting else ()),
    )


def _covered(connection: Connection, conversation_id: UUID, newest: int) -> set[int]:
    query = sa.select(summaries.c.covers_from, summaries.c.covers_to).where(
        summaries.c.conversation_id == conversation_id, summaries.c.number <= newest
    )
    return {number for first, last in connection.execute(query) for number in range(first, last + 1)}


def _has_job(connection: Connection, conversation_id: str) -> bool:
    named = jobs.c.payload["conversation_id"].as_string() == conversation_id
    held = (named, jobs.c.kind == SUMMARIZE, jobs.c.status.in_(("ready", "running")))
    return connection.execute(sa.select(sa.func.count()).select_from(jobs).where(*held)).scalar_one() > 0
