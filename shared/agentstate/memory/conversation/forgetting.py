"""Forgetting conversations: every turn and summary of an agent, in the caller's transaction.

A worker that is summarizing one of them finds no conversation when it comes to write, and its job ends.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.store import Transaction
from agentstate.store.tables import conversations, summaries, summary_calls, turns


def remove_conversations(tx: Transaction, agent_id: str) -> int:
    """Remove all conversations of `agent_id`; return the number of removed turns."""
    for table in (summary_calls, summaries):
        tx.connection.execute(table.delete().where(table.c.agent_id == agent_id))
    removed = tx.connection.execute(turns.delete().where(turns.c.agent_id == agent_id)).rowcount
    tx.connection.execute(conversations.delete().where(conversations.c.agent_id == agent_id))
    return removed


def count_turns(connection: Connection, agent_id: str) -> int:
    """Return the number of turns of `agent_id` in all conversations."""
    query = sa.select(sa.func.count()).select_from(turns).where(turns.c.agent_id == agent_id)
    return connection.execute(query).scalar_one()
