"""The durable rows of episodes: append-only, ordered by time and id; the newest revision of each counts.

A changed outcome is a row of its own. Adding rows of an agent takes a shared lock, and forgetting the agent takes it
alone: so a forgetting removes all that was accepted before it, and nothing of what comes after.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from agentstate.errors import StoreUnavailable
from agentstate.memory.episodes.episode import WRITTEN_VERSION, Episode
from agentstate.memory.episodes.forgetting import AGENT_LOCKS, lock_agent
from agentstate.store.queries import load_queries
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import episode_lessons, episodes
from agentstate.store.tables.base import db_time
from agentstate.store.upsert import insert_new, insert_returning

_later = episodes.alias("later")
_IS_NEWEST_REVISION = ~sa.exists().where(
    _later.c.agent_id == episodes.c.agent_id, _later.c.id == episodes.c.id, _later.c.revision > episodes.c.revision
)
_ORDER = (episodes.c.at_us.desc(), episodes.c.id.desc())
_QUERIES = load_queries("agentstate.memory.episodes")


@dataclass(frozen=True, slots=True)
class Undrawn:
    """Episodes that no lesson was drawn from yet, oldest first; `before` and `to` bound their row numbers."""

    before: int
    to: int
    episodes: Sequence[Episode]


class EpisodeArchive:
    """The durable episodes of all agents. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def transaction(self, tx: Transaction | None = None) -> AbstractContextManager[Transaction]:
        """Return a write transaction of the durable store, or `tx` itself."""
        return self._store.transaction(tx)

    def current_transaction(self) -> Transaction | None:
        """Return the transaction of the block that the caller is in, None outside of one."""
        return self._store.current_transaction()

    def add_episodes(self, found: Sequence[Episode], *, tx: Transaction | None = None) -> int:
        """Add new episodes of one agent in one commit; return the highest number of their rows.

        Raises:
            StoreUnavailable: the store does not answer; whether they were added is unknown.
        """
        if tx is None and self._store.database.has_single_statement_commit:
            rows = msgspec.json.encode([_to_row(episode) for episode in found]).decode()
            values = {"agent_id": found[0].agent_id, "rows": rows, "lock": AGENT_LOCKS}
            row = self._store.commit_one(_QUERIES["insert_episodes"], values)
            if row is None:
                raise StoreUnavailable(f"the durable store refused episodes of {found[0].agent_id}. None was recorded.")
            return int(row[0])
        with self._store.transaction(tx) as opened:
            lock_agent(opened, found[0].agent_id)
            inserted = opened.connection.execute(
                episodes.insert().returning(episodes.c.seq), [_to_row(e) for e in found]
            )
            return max(int(seq) for seq in inserted.scalars())

    def add_revision(self, after: Episode, *, tx: Transaction) -> int | None:
        """Add the next revision of an episode; return its row's number, None when another was faster.

        The caller holds the lock of the agent.
        """
        row = insert_returning(tx, episodes, _to_row(after), episodes.c.seq)
        return None if row is None else int(row.seq)

    def find_episode(self, agent_id: str, episode_id: UUID, *, tx: Transaction | None = None) -> Episode | None:
        """Return the newest revision of one episode, None when there is none."""
        query = (
            sa.select(episodes)
            .where(episodes.c.agent_id == agent_id, episodes.c.id == episode_id)
            .order_by(episodes.c.revision.desc())
            .limit(1)
        )
        if tx is not None:
            row = tx.connection.execute(query).first()
        else:
            with self._store.read_connection(autocommit=True) as connection:
                row = connection.execute(query).first()
        return None if row is None else _from_row(row)

    def read_newest(
        self,
        agent_id: str,
        limit: int,
        *,
        event_type: str | None = None,
        from_us: int | None = None,
        before_us: int | None = None,
    ) -> list[Episode]:
        """Return the newest episodes at or after `from_us` and before `before_us`, newest first."""
        query = sa.select(episodes).where(*_filter_rows(agent_id, event_type, from_us, before_us), _IS_NEWEST_REVISION)
        with self._store.read_connection(autocommit=True) as connection:
            return [_from_row(row) for row in connection.execute(query.order_by(*_ORDER).limit(limit))]

    def count_by_type(
        self, agent_id: str, from_us: int | None = None, event_type: str | None = None
    ) -> tuple[dict[str, int], int | None, int | None]:
        """Return counts by type from a time on, and the first and the last time in microseconds."""
        column = episodes.c
        query = sa.select(
            column.event_type, sa.func.count(), sa.func.min(column.at_us), sa.func.max(column.at_us)
        ).where(*_filter_rows(agent_id, event_type, from_us, None), column.revision == 0)
        with self._store.read_connection(autocommit=True) as connection:
            rows = connection.execute(query.group_by(column.event_type)).all()
        counts = {kind: count for kind, count, _, _ in rows}
        return counts, min((row[2] for row in rows), default=None), max((row[3] for row in rows), default=None)

    def read_undrawn(self, agent_id: str, limit: int) -> Undrawn:
        """Return the first episodes that no lesson was drawn from.

        All who are adding rows of the agent are waited for, so that none with a lower number commits later.
        """
        drawn = sa.select(episode_lessons.c.seq).where(episode_lessons.c.agent_id == agent_id)
        with self._store.transaction() as tx:
            lock_agent(tx, agent_id, alone=True)
            before = int(tx.connection.execute(drawn).scalar_one_or_none() or 0)
            first = (episodes.c.agent_id == agent_id, episodes.c.seq > before, episodes.c.revision == 0)
            rows = tx.connection.execute(sa.select(episodes).where(*first).order_by(episodes.c.seq).limit(limit)).all()
        return Undrawn(before, rows[-1].seq if rows else before, [_from_row(row) for row in rows])

    def mark_drawn(self, tx: Transaction, agent_id: str, undrawn: Undrawn) -> bool:
        """Note that lessons were drawn from these; False when another worker was faster."""
        insert_new(tx, episode_lessons, [{"agent_id": agent_id, "seq": 0}])
        mine = (episode_lessons.c.agent_id == agent_id, episode_lessons.c.seq == undrawn.before)
        done = tx.connection.execute(episode_lessons.update().where(*mine).values(seq=undrawn.to, drawn_at=db_time()))
        return done.rowcount == 1

    def has_recorded_since(self, agent_id: str, seconds: float) -> bool:
        """Whether the agent recorded an episode within so many seconds."""
        newest = sa.select(episodes.c.recorded_at).where(episodes.c.agent_id == agent_id)
        query = sa.select(sa.literal(1)).where(
            newest.order_by(episodes.c.seq.desc()).limit(1).scalar_subquery() > db_time(-seconds)
        )
        with self._store.read_connection() as connection:
            return connection.execute(query).first() is not None


def _filter_rows(
    agent_id: str, event_type: str | None, from_us: int | None, before_us: int | None
) -> list[sa.ColumnElement[bool]]:
    column = episodes.c
    given = [column.agent_id == agent_id]
    if event_type is not None:
        given.append(column.event_type == event_type)
    if from_us is not None:
        given.append(column.at_us >= from_us)
    if before_us is not None:
        given.append(column.at_us < before_us)
    return given


def _to_row(episode: Episode) -> dict[str, Any]:
    return {
        "agent_id": episode.agent_id,
        "id": episode.id,
        "revision": episode.revision,
        "event_type": episode.event_type,
        "at_us": episode.at_us,
        "content": bytes(episode.packed).decode(),
    }


def _from_row(row: sa.Row[Any]) -> Episode:
    content = msgspec.Raw(row.content.encode())
    return Episode(WRITTEN_VERSION, row.agent_id, row.id.hex, row.event_type, row.at_us, content, row.revision)
