"""The archive of episodes in the durable store: append-only, found by time, the newest revision of each counting.

Only an agent that is forgotten loses its episodes, all of them: see `agentstate.memory.facts.tombstones`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.episodes.episode import WRITTEN_VERSION, Episode
from agentstate.memory.facts.tombstones import Tombstone, hold_off, life_of, newest_tombstones
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import episode_lessons, episode_returns, episodes
from agentstate.store.tables.base import db_time
from agentstate.store.upsert import insert_new

_later = episodes.alias("later")
_NEWEST = ~sa.exists().where(
    _later.c.agent_id == episodes.c.agent_id, _later.c.id == episodes.c.id, _later.c.revision > episodes.c.revision
)
"""Only the newest revision of each episode."""

_earlier = episodes.alias("earlier")
_FIRST = ~sa.exists().where(
    _earlier.c.agent_id == episodes.c.agent_id,
    _earlier.c.id == episodes.c.id,
    _earlier.c.revision < episodes.c.revision,
)
"""Only the first that was archived of each."""


@dataclass(frozen=True, slots=True)
class Undrawn:
    """Archived episodes that no lesson was drawn from yet, oldest first; `before` and `to` bound them by number."""

    before: int
    to: int
    episodes: Sequence[Episode]


class EpisodeArchive:
    """Archived episodes of any agent. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, found: Sequence[Episode], *, bring_back: bool = False, tx: Transaction | None = None) -> int:
        """Archive episodes; those that are there already are left as they are. Return how many were new.

        Args:
            found: the episodes.
            bring_back: Redis lacks them, and is to be given them when it answers again.
            tx: the caller's transaction.
        """
        with self._store.transaction(tx) as opened:
            hold_off(opened, {episode.agent_id for episode in found})
            if bring_back:
                insert_new(opened, episode_returns, [{"agent_id": each.agent_id, "id": each.id} for each in found])
            return _inserted(opened, found)

    def take(self, agent_id: str, found: Sequence[Episode], life: int) -> int | None:
        """Archive what was read from Redis in the agent's `life`; how many were new.

        None when it was forgotten since: then nothing was added.
        """
        with self._store.transaction() as tx:
            hold_off(tx, [agent_id])
            if life_of(tx.connection, agent_id) != life:
                return None
            return _inserted(tx, found)

    def revise(self, after: Episode, *, bring_back: bool = False) -> int:
        """Archive the next revision of an episode that is here; 0 when it is gone, or another was faster."""
        column = episodes.c
        before = column.agent_id == after.agent_id, column.id == after.id, column.revision == after.revision - 1
        with self._store.transaction() as tx:
            hold_off(tx, [after.agent_id])
            if tx.connection.execute(sa.select(column.seq).where(*before)).first() is None:
                return 0
            return self.add([after], bring_back=bring_back, tx=tx)

    def life(self, agent_id: str) -> int:
        """The agent's present life; ask before reading what is to be given to Redis."""
        with self._store.read_connection() as connection:
            return life_of(connection, agent_id)

    def tombstones(self, agents: Iterable[str]) -> dict[str, Tombstone]:
        """The newest tombstone of each of these agents that was forgotten."""
        with self._store.read_connection() as connection:
            return newest_tombstones(connection, agents)

    def recent(
        self,
        agent_id: str,
        limit: int,
        *,
        event_type: str | None = None,
        from_us: int | None = None,
        before_us: int | None = None,
    ) -> list[Episode]:
        """The newest episodes at or after `from_us` and before `before_us`, newest first."""
        column = episodes.c
        conditions = [column.agent_id == agent_id, _NEWEST]
        if event_type is not None:
            conditions.append(column.event_type == event_type)
        if from_us is not None:
            conditions.append(column.at_us >= from_us)
        if before_us is not None:
            conditions.append(column.at_us < before_us)
        order = (column.at_us.desc(), column.seq.desc())
        return self._read(sa.select(episodes).where(*conditions).order_by(*order).limit(limit))

    def get(self, agent_id: str, episode_id: UUID) -> Episode | None:
        """The newest revision of one episode, None when it is not archived."""
        found = self._read(
            sa.select(episodes)
            .where(episodes.c.agent_id == agent_id, episodes.c.id == episode_id)
            .order_by(episodes.c.revision.desc())
            .limit(1)
        )
        return found[0] if found else None

    def counts(
        self, agent_id: str, from_us: int, *, without: Iterable[UUID] = ()
    ) -> tuple[dict[str, int], int | None, int | None]:
        """Counts by type from a time on, `without` some, and the first and the last time."""
        column = episodes.c
        conditions = [column.agent_id == agent_id, column.at_us >= from_us]
        left_out = list(without)
        if left_out:
            conditions.append(column.id.not_in(left_out))
        statement = sa.select(
            column.event_type,
            sa.func.count(sa.distinct(column.id)),
            sa.func.min(column.at_us),
            sa.func.max(column.at_us),
        ).where(*conditions)
        with self._store.read_connection() as connection:
            rows = connection.execute(statement.group_by(column.event_type)).all()
        counts = {kind: count for kind, count, _, _ in rows}
        return counts, min((row[2] for row in rows), default=None), max((row[3] for row in rows), default=None)

    def returning(self, limit: int) -> list[str]:
        """Agents with episodes that Redis lacks."""
        with self._store.read_connection() as connection:
            return list(connection.execute(sa.select(episode_returns.c.agent_id).distinct().limit(limit)).scalars())

    def to_return(self, agent_id: str, limit: int) -> list[Episode]:
        """Episodes of an agent that Redis lacks, oldest first."""
        waits = episode_returns.c.agent_id == episodes.c.agent_id, episode_returns.c.id == episodes.c.id
        return self._read(
            sa.select(episodes)
            .join(episode_returns, sa.and_(*waits))
            .where(episodes.c.agent_id == agent_id, _NEWEST)
            .order_by(episodes.c.at_us, episodes.c.seq)
            .limit(limit)
        )

    def returned(self, found: Sequence[Episode]) -> None:
        """Redis has them now."""
        if found:
            ids = [episode.id for episode in found]
            mine = episode_returns.c.agent_id == found[0].agent_id
            with self._store.transaction() as tx:
                tx.connection.execute(episode_returns.delete().where(mine, episode_returns.c.id.in_(ids)))

    def undrawn(self, agent_id: str, limit: int) -> Undrawn:
        """The first episodes that no lesson was drawn from."""
        with self._store.read_connection() as connection:
            before = _drawn_to(connection, agent_id)
            column = episodes.c
            rows = connection.execute(
                sa.select(episodes)
                .where(column.agent_id == agent_id, column.seq > before, _FIRST)
                .order_by(column.seq)
                .limit(limit)
            ).all()
        return Undrawn(before, rows[-1].seq if rows else before, [_episode(row) for row in rows])

    def drawn(self, tx: Transaction, agent_id: str, undrawn: Undrawn) -> bool:
        """Lessons were drawn from these; False when another worker was faster."""
        insert_new(tx, episode_lessons, [{"agent_id": agent_id, "seq": 0}])
        mine = (episode_lessons.c.agent_id == agent_id, episode_lessons.c.seq == undrawn.before)
        done = tx.connection.execute(episode_lessons.update().where(*mine).values(seq=undrawn.to, drawn_at=db_time()))
        return done.rowcount == 1

    def _read(self, statement: sa.Select[Any]) -> list[Episode]:
        with self._store.read_connection() as connection:
            return [_episode(row) for row in connection.execute(statement)]


def _inserted(tx: Transaction, found: Sequence[Episode]) -> int:
    return insert_new(tx, episodes, [_row(episode) for episode in found])


def _drawn_to(connection: Connection, agent_id: str) -> int:
    statement = sa.select(episode_lessons.c.seq).where(episode_lessons.c.agent_id == agent_id)
    return int(connection.execute(statement).scalar_one_or_none() or 0)


def _row(episode: Episode) -> dict[str, Any]:
    return {
        "agent_id": episode.agent_id,
        "id": episode.id,
        "revision": episode.revision,
        "event_type": episode.event_type,
        "at_us": episode.at_us,
        "content": bytes(episode.packed).decode(),
    }


def _episode(row: sa.Row[Any]) -> Episode:
    return Episode(
        WRITTEN_VERSION,
        row.agent_id,
        row.id.hex,
        row.event_type,
        row.at_us,
        msgspec.Raw(row.content.encode()),
        revision=row.revision,
    )
