"""Tombstones of episodes: that an agent was forgotten, when, and up to where its archive went.

Each forgetting begins a new life of the agent. Whoever carries episodes between Redis and the archive says in which
life it read them, and what is of an earlier one is not taken: so nothing that a worker held meanwhile comes back, and
what the agent does afterwards is kept as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.store import Transaction
from agentstate.store.tables import episode_lessons, episode_returns, episode_tombstones, episodes
from agentstate.store.upsert import insert_new

_LOCKS = 0x61676570
"""Begins every advisory lock on an agent's archive; `agentstate_forget_episodes` takes them alone."""

_stone = episode_tombstones.c


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One forgetting."""

    agent_id: str
    life: int
    """Of the agent since then: 1 after the first forgetting, 0 while there was none."""
    to_seq: int
    """All archived episodes of the agent up to here are gone."""
    removed: int
    """How many those were, every outcome that changed counted."""
    forgotten_at: datetime


def forget_archived(tx: Transaction, agent_id: str) -> Tombstone:
    """Remove all archived episodes of `agent_id`, and let no lesson be drawn from them any more.

    On Postgres others that add episodes of this agent wait until the transaction ends.
    """
    stone = _forget_on_postgres(tx, agent_id) if tx.database.is_server else _forget_on_sqlite(tx, agent_id)
    tx.connection.execute(episode_returns.delete().where(episode_returns.c.agent_id == agent_id))
    # Who is drawing one now began at an earlier number, and finds that it has changed.
    insert_new(tx, episode_lessons, [{"agent_id": agent_id, "seq": 0}])
    behind = episode_lessons.c.agent_id == agent_id, episode_lessons.c.seq < stone.to_seq
    tx.connection.execute(episode_lessons.update().where(*behind).values(seq=stone.to_seq))
    return stone


def count_archived(connection: Connection, stone: Tombstone) -> int:
    """How many episodes that `stone` covers are in the archive."""
    covered = episodes.c.agent_id == stone.agent_id, episodes.c.seq <= stone.to_seq
    return connection.execute(sa.select(sa.func.count()).select_from(episodes).where(*covered)).scalar_one()


def hold_off(tx: Transaction, agents: Iterable[str]) -> None:
    """Let nobody forget these agents before the transaction ends; on SQLite there is one writer anyway."""
    for agent_id in sorted(agents):
        tx.database.lock_key(tx.connection, _LOCKS, sa.func.hashtext(agent_id), shared=True)


def life_of(connection: Connection, agent_id: str) -> int:
    """The present life of an agent."""
    query = sa.select(sa.func.coalesce(sa.func.max(_stone.life), 0)).where(_stone.agent_id == agent_id)
    return int(connection.execute(query).scalar_one())


def newest_tombstones(connection: Connection, agents: Iterable[str]) -> dict[str, Tombstone]:
    """The newest tombstone of each of these agents that has one."""
    query = sa.select(episode_tombstones).where(_stone.agent_id.in_(list(agents))).order_by(_stone.life)
    return {row.agent_id: Tombstone(**row._mapping) for row in connection.execute(query)}  # noqa: SLF001 its public name


def _forget_on_postgres(tx: Transaction, agent_id: str) -> Tombstone:
    tx.connection.execute(sa.select(sa.func.agentstate_forget_episodes(agent_id)))
    return newest_tombstones(tx.connection, [agent_id])[agent_id]


def _forget_on_sqlite(tx: Transaction, agent_id: str) -> Tombstone:
    mine = episodes.c.agent_id == agent_id
    many, last = tx.connection.execute(sa.select(sa.func.count(), sa.func.max(episodes.c.seq)).where(mine)).one()
    before = newest_tombstones(tx.connection, [agent_id]).get(agent_id)
    stone = Tombstone(
        agent_id=agent_id,
        life=before.life + 1 if before else 1,
        to_seq=last or (before.to_seq if before else 0),
        removed=many,
        forgotten_at=tx.now(),
    )
    tx.connection.execute(episode_tombstones.insert().values(asdict(stone)))
    tx.connection.execute(episodes.delete().where(mine))
    return stone
