"""Forgetting the episodes of an agent: all of its rows go in one transaction, and a tombstone row allows and notes it.

The tables are append-only. On Postgres one function of the tables' owner writes the tombstone and deletes the rows; the
application's role may call it, and can delete an episode by no other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.store import Transaction
from agentstate.store.tables import episode_lessons, episode_tombstones, episodes
from agentstate.store.upsert import insert_new

AGENT_LOCKS: Final = 0x61676570
"""First key of the advisory locks on agents' episodes; `agentstate_forget_episodes` takes them alone."""
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One forgetting of an agent's episodes.

    Attributes:
        agent_id: the agent.
        number: how many times it was forgotten, this one included.
        to_seq: all its rows up to this number are gone.
        removed: how many rows those were, each revision counted.
        forgotten_at: when.
    """

    agent_id: str
    number: int
    to_seq: int
    removed: int
    forgotten_at: datetime


def forget_episodes(tx: Transaction, agent_id: str) -> Tombstone:
    """Remove all episodes of `agent_id`, and let no lesson be drawn from them any more.

    On Postgres others that add episodes of this agent wait until the transaction ends.
    """
    if tx.database.is_server:
        tx.connection.execute(sa.select(sa.func.agentstate_forget_episodes(agent_id)))
        stone = find_tombstone(tx.connection, agent_id)
        assert stone is not None  # noqa: S101 the function wrote it
    else:
        before = find_tombstone(tx.connection, agent_id)
        mine = episodes.c.agent_id == agent_id
        many, last = tx.connection.execute(sa.select(sa.func.count(), sa.func.max(episodes.c.seq)).where(mine)).one()
        stone = Tombstone(
            agent_id=agent_id,
            number=before.number + 1 if before else 1,
            to_seq=last or (before.to_seq if before else 0),
            removed=many,
            forgotten_at=tx.now(),
        )
        tx.connection.execute(episode_tombstones.insert().values(asdict(stone)))
        tx.connection.execute(episodes.delete().where(mine))
    # A worker that is drawing a lesson now began at a lower number, and finds that it has changed.
    insert_new(tx, episode_lessons, [{"agent_id": agent_id, "seq": 0}])
    behind = episode_lessons.c.agent_id == agent_id, episode_lessons.c.seq < stone.to_seq
    tx.connection.execute(episode_lessons.update().where(*behind).values(seq=stone.to_seq))
    return stone


def find_tombstone(connection: Connection, agent_id: str) -> Tombstone | None:
    """Return the newest tombstone of an agent, None when it was never forgotten."""
    query = sa.select(episode_tombstones).where(episode_tombstones.c.agent_id == agent_id)
    row = connection.execute(query.order_by(episode_tombstones.c.number.desc()).limit(1)).mappings().first()
    return None if row is None else Tombstone(**row)


def count_covered(connection: Connection, stone: Tombstone) -> int:
    """Return how many rows that `stone` covers are still there."""
    covered = episodes.c.agent_id == stone.agent_id, episodes.c.seq <= stone.to_seq
    return connection.execute(sa.select(sa.func.count()).select_from(episodes).where(*covered)).scalar_one()


def find_missing(connection: Connection, agent_id: str, episode_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of `episode_ids` that the agent has no row of."""
    found = set(episode_ids)
    for first in range(0, len(episode_ids), _PAGE):
        some = episodes.c.id.in_(episode_ids[first : first + _PAGE])
        query = sa.select(episodes.c.id).where(episodes.c.agent_id == agent_id, some)
        found -= set(connection.execute(query).scalars())
    return found


def lock_agent(tx: Transaction, agent_id: str, *, alone: bool = False) -> None:
    """Lock an agent's episodes until the transaction ends, shared or alone; SQLite has one writer anyway."""
    tx.database.lock_key(tx.connection, AGENT_LOCKS, sa.func.hashtext(agent_id), shared=not alone)
