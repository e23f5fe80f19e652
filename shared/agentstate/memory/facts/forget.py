"""Forgetting: memories removed from every store, with a receipt for each that was checked afterwards.

Of a memory that was forgotten by itself its id stays, so that no import or worker brings it back; an agent that
remembers the same anew has it again. The durable row goes first, in one transaction with a job that looks again later:
from that moment no recall can give the memory, since every text that a user reads comes from the row. A worker that
held it may still write a point into the index; the job removes that too. An agent's episodes go with its memories, and
with their copy in Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import IndexUnavailable, NotFound, RedisUnavailable
from agentstate.ids import validate_name
from agentstate.jobs import Jobs
from agentstate.memory.conversation.turns import count_turns, remove_conversations
from agentstate.memory.episodes.forgetting import (
    Tombstone,
    count_covered,
    find_missing,
    find_tombstone,
    forget_episodes,
)
from agentstate.memory.facts.namespaces import allowed_tenants
from agentstate.memory.facts.statements import new_version_values
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.preceding_turns import reindex_followers
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import (
    agent_state_versions,
    conversations,
    effects,
    forgotten_memories,
    ledger_transactions,
    memories,
    memory_shares,
    memory_vectors,
    portfolio_snapshots,
    profile_fields,
    turns,
)
from agentstate.store.upsert import insert_new

if TYPE_CHECKING:
    from agentstate.memory.episodes.recent import RecentEpisodes

ERASE_KIND = "embedding.erase"
ERASE_AGAIN_AFTER_S = 180.0
"""After this time no worker can hold a forgotten memory any more."""
KEPT_TABLES = {
    table.name: table
    for table in (turns, agent_state_versions, profile_fields, ledger_transactions, effects, portfolio_snapshots)
}
"""The other tables of an agent. Books and effects are never forgotten: they are the record of what it did with money.
Nor is its state; conversations go when that is asked for."""
_PAGE = 1_000
_ALL_EPISODES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Erased:
    """The result of forgetting in one store."""

    store: str
    removed: int
    left: int | None
    """Found there afterwards; None when the store could not be asked."""
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class ForgetReceipt:
    """The result of forgetting, store by store."""

    agent_id: str
    memory_id: UUID | None
    """None when it was everything."""
    stores: tuple[Erased, ...]
    kept: Mapping[str, int] = field(default_factory=dict)
    """Rows of the agent that were not touched, by table; empty when one memory was forgotten."""

    @property
    def complete(self) -> bool:
        """Whether every store in `stores` was asked afterwards and has nothing left."""
        return all(erased.left == 0 for erased in self.stores)


class Forgetting:
    """Removes memories and episodes. Safe to share between threads.

    Args:
        store: the durable store.
        jobs: where the job that looks again is submitted.
        index: the index.
        recent: opens the episodes in Redis; None when there is no Redis.
    """

    def __init__(
        self, store: Store, jobs: Jobs, index: MemoryIndex, recent: Callable[[], RecentEpisodes] | None = None
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._index = index
        self._recent = recent

    def forget_memory(self, agent_id: str, memory_id: UUID, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove one memory of `agent_id`, or of a namespace into which it may write; see `AgentMemory.forget`."""
        validate_name(agent_id)
        vectors = memory_vectors.c.memory_id == memory_id
        with self._store.transaction() as tx:
            shared = [] if namespace is None else [validate_name(namespace, "namespace")]
            tenant = allowed_tenants(tx.connection, agent_id, shared, writing=True)[-1]
            one = sa.and_(memories.c.agent_id == tenant, memories.c.id == memory_id)
            # The statement that this one had superseded does not hold again: it ended when this one began.
            forgotten = sa.select(memories.c.id).where(one).scalar_subquery()
            ended = sa.case(
                (memories.c.valid_to < memories.c.superseded_at, memories.c.valid_to), else_=memories.c.superseded_at
            )
            closed = {"valid_to": ended, "superseded_by": None, "superseded_at": None, **new_version_values()}
            tx.connection.execute(memories.update().where(memories.c.superseded_by == forgotten).values(**closed))
            turn = reindex_followers(tx, one)
            removed = _delete_rows(tx, one, vectors)
            if not removed[0]:
                raise NotFound(f"{agent_id} has no memory {memory_id}. Nothing was removed.")
            insert_new(tx, forgotten_memories, [{"id": memory_id, "agent_id": tenant}])
            self._submit_erase(tx, agent_id, tenant=tenant, memories=[str(memory_id)])
        stored = self._verify_rows(removed, one, vectors)
        stores = [*stored, self.erase_points(tenant, [memory_id])]
        if turn is not None and turn_is_kept(self._store, *turn):
            note = "The turn stays in its conversation; `forget_all(conversations=True)` removes that."
            stores.append(Erased(store="conversations", removed=0, left=1, note=note))
        return ForgetReceipt(agent_id=agent_id, memory_id=memory_id, stores=tuple(stores))

    def forget_agent(self, agent_id: str, *, conversations: bool = False) -> ForgetReceipt:
        """Remove all memories and episodes of `agent_id`, those in Redis too; see `AgentMemory.forget_all`.

        The memories that it wrote into shared namespaces are the namespace's and stay. Of its episodes a tombstone
        stays: the name of the agent, when it was forgotten, and how many there were.
        """
        validate_name(agent_id)
        mine, vectors = memories.c.agent_id == agent_id, memory_vectors.c.agent_id == agent_id
        with self._store.transaction() as tx:
            # Before all else: a worker that is drawing a lesson now either ends before, and its lesson is removed too,
            # or finds no episodes any more.
            tombstone = forget_episodes(tx, agent_id)
            removed = _delete_rows(tx, mine, vectors)
            said = remove_conversations(tx, agent_id) if conversations else 0
            tx.connection.execute(memory_shares.delete().where(memory_shares.c.agent_id == agent_id))
            self._submit_erase(tx, agent_id, tenant=agent_id)
        recent = self._erase_recent(tombstone)
        stored = self._verify_rows(removed, mine, vectors)
        with self._store.read_connection() as connection:
            talks = Erased(store="conversations", removed=said, left=count_turns(connection, agent_id))
            archived = Erased(store="episodes", removed=tombstone.removed, left=count_covered(connection, tombstone))
            rows = {
                name: connection.execute(
                    sa.select(sa.func.count()).select_from(table).where(table.c.agent_id == agent_id)
                ).scalar_one()
                for name, table in KEPT_TABLES.items()
            }
        stores = (
            *stored,
            *([talks] if conversations else ()),
            archived,
            *recent,
            self.erase_points(agent_id, None),
        )
        kept = {name: count for name, count in rows.items() if count}
        return ForgetReceipt(agent_id=agent_id, memory_id=None, stores=stores, kept=kept)

    def erase_late(self, agent_id: str) -> int:
        """Remove the episodes in Redis from before `agent_id` was last forgotten; return how many.

        Raises:
            RedisUnavailable: try again later.
        """
        with self._store.read_connection() as connection:
            tombstone = find_tombstone(connection, agent_id)
        if tombstone is None or self._recent is None:
            return 0
        return self._recent().drop_copy(agent_id, forgotten_to=tombstone.to_seq)

    def erase_points(self, tenant: str, memory_ids: Sequence[UUID] | None) -> Erased:
        """Remove the points of `tenant`'s memories from the index: of the given ones, else of all without a row."""

        def read_existing(found: Sequence[UUID]) -> set[UUID]:
            # An agent may have stored new memories since it was forgotten.
            query = sa.select(memories.c.id).where(memories.c.agent_id == tenant)
            with self._store.read_connection() as connection:
                return {
                    memory
                    for at in range(0, len(found), _PAGE)
                    for memory in connection.execute(query.where(memories.c.id.in_(found[at : at + _PAGE]))).scalars()
                }

        try:
            if memory_ids is None:
                removed, left = self._index.erase_unknown(tenant, keep=read_existing)
            else:
                removed, left = self._index.erase_memories(tenant, memory_ids)
        except IndexUnavailable as error:
            note = f"{error} A job removes them when it is back; no recall gives them."
            return Erased(store="index", removed=0, left=None, note=note)
        return Erased(store="index", removed=removed, left=left)

    def _erase_recent(self, tombstone: Tombstone) -> Sequence[Erased]:
        if self._recent is None:
            return ()
        try:
            removed = self._recent().drop_copy(tombstone.agent_id, forgotten_to=tombstone.to_seq)
            copied = self._recent().read_copy(tombstone.agent_id, _ALL_EPISODES, 0) or []
            with self._store.read_connection() as connection:
                left = len(find_missing(connection, tombstone.agent_id, [episode.id for episode in copied]))
        except RedisUnavailable as error:
            note = f"{error} A job removes them when it is back; the durable store has none of them."
            return (Erased(store="recent episodes", removed=0, left=None, note=note),)
        return (Erased(store="recent episodes", removed=removed, left=left),)

    def _submit_erase(self, tx: Transaction, agent_id: str, **payload: object) -> None:
        self._jobs.submit(ERASE_KIND, dict(payload), agent_id=agent_id, due_in=ERASE_AGAIN_AFTER_S, tx=tx)

    def _verify_rows(
        self, removed: tuple[int, int], rows: sa.ColumnElement[bool], vectors: sa.ColumnElement[bool]
    ) -> tuple[Erased, Erased]:
        with self._store.read_connection() as connection:
            left = connection.execute(sa.select(sa.func.count()).select_from(memories).where(rows)).scalar_one()
            kept = connection.execute(sa.select(sa.func.count()).select_from(memory_vectors).where(vectors))
            return (
                Erased(store="memories", removed=removed[0], left=left),
                Erased(store="vectors", removed=removed[1], left=kept.scalar_one()),
            )


def _delete_rows(tx: Transaction, rows: sa.ColumnElement[bool], vectors: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Delete memories and their vectors; return how many of each."""
    made = tx.connection.execute(memory_vectors.delete().where(vectors)).rowcount
    return tx.connection.execute(memories.delete().where(rows)).rowcount, made


def turn_is_kept(store: Store, agent_id: str, session: str, number: int) -> bool:
    """Return whether a conversation holds this turn."""
    place = (conversations.c.agent_id == agent_id, conversations.c.session == session, turns.c.number == number)
    query = sa.select(turns.c.number).join(conversations, conversations.c.id == turns.c.conversation_id).where(*place)
    with store.read_connection() as connection:
        return connection.execute(query).first() is not None
