"""The memories that wait to become searchable: claimed in fair batches, marked by the worker that still holds them.

A claim takes as many from each agent as it can, so that one agent's backlog of 100,000 does not delay another agent's
single memory. It stamps a token and a time until which the rows are its own; after that time another worker may take
them, and the late one's token no longer matches, so no result of it is applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from agentstate.memory.facts.records import RECORD_COLUMNS, MemoryRecord
from agentstate.memory.facts.statements import new_version_values
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import memories, memory_vectors
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.memory import pending

LIGHT = 16
"""An agent with no more due memories than these does not wait behind one that has more."""
MAX_ATTEMPTS = 12
"""Claims before a memory is given up, those included whose worker died. With the back-off that is about 30 minutes."""


@dataclass(frozen=True, kw_only=True)
class ClaimedBatch:
    """The memories of one claim."""

    token: UUID
    memories: list[MemoryRecord]
    exhausted: int
    """Memories that had no attempt left and are dead now."""


@dataclass(frozen=True)
class DeadMemory:
    """A memory that was given up."""

    id: UUID
    agent_id: str
    attempts: int
    error: str | None


TextKey = tuple[str, bytes]
"""The agent whose text it is, and the text's hash."""

_DEAD: dict[str, Any] = {"state": "dead", "claim": None, "searchable_at": None}


class EmbeddingBacklog:
    """The work list of the embedding pipeline. Safe to use from any number of workers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after = ""

    def has_due(self) -> bool:
        """Return whether any memory is due."""
        with self._store.read_connection() as connection:
            due = sa.select(memories.c.seq).where(pending, memories.c.due_at <= statement_time()).limit(1)
            return connection.execute(due).first() is not None

    def claim_batch(self, limit: int, *, lease_s: float, light: bool = False) -> ClaimedBatch:
        """Claim up to `limit` due memories for `lease_s` seconds, the oldest of each agent in turn.

        With `light`, only of agents that have few: such a batch is done soon, whatever else waits.
        """
        token = uuid4()
        with self._store.transaction() as tx:
            now = tx.now()
            agents = self._next_agents(tx, now, limit)
            if light:  # those that have no more than LIGHT due memories
                agents = tx.database.select_names_without(
                    tx.connection, agents, lambda agent: _select_oldest(agent, 1, now).offset(LIGHT)
                )
            taken: list[MemoryRecord] = []
            while agents and len(taken) < limit:
                room = limit - len(taken)
                share = max(1, room // len(agents))
                found = _claim_oldest(tx, agents[:room], share, now, token=token, lease_s=lease_s)
                taken += found
                yielded = Counter(memory.agent_id for memory in found)
                agents = [agent for agent in agents if yielded[agent] == share]
            spent = [memory.seq for memory in taken if memory.attempts > MAX_ATTEMPTS]
            if spent:
                cause = sa.func.coalesce(memories.c.error, "the worker died each time")
                error = sa.literal(f"given up after {MAX_ATTEMPTS} attempts: ") + cause
                _update_held(tx, token, spent, **_DEAD, error=error)
        fresh = [memory for memory in taken if memory.attempts <= MAX_ATTEMPTS]
        return ClaimedBatch(token=token, memories=fresh, exhausted=len(spent))

    def read_vectors(
        self, claimed: Sequence[MemoryRecord], space: str, hashes: Sequence[bytes]
    ) -> dict[TextKey, bytes]:
        """Return the vectors of `space` that were made before for the same texts of the same agents."""
        made = memory_vectors.c
        query = sa.select(made.agent_id, made.text_sha, made.vector).where(
            made.agent_id.in_({memory.agent_id for memory in claimed}), made.space == space, made.text_sha.in_(hashes)
        )
        with self._store.read_connection() as connection:
            return {(agent_id, text_sha): vector for agent_id, text_sha, vector in connection.execute(query)}

    def keep_vectors(self, space: str, vectors: Iterable[tuple[MemoryRecord, bytes, bytes]]) -> None:
        """Store paid vectors, as (memory, hash of the text, vector), so that no later failure costs them again."""
        rows = [
            {
                "memory_id": memory.id,
                "space": space,
                "text_sha": text_sha,
                "agent_id": memory.agent_id,
                "vector": vector,
            }
            for memory, text_sha, vector in vectors
        ]
        if not rows:
            return
        with self._store.transaction() as tx:
            there = {row["memory_id"] for row in rows}
            known = tx.connection.execute(sa.select(memories.c.id).where(memories.c.id.in_(there))).scalars()
            still = set(known)  # one that was forgotten meanwhile has no vectors either
            insert = tx.database.insert_into(memory_vectors)
            if still:
                kept = [row for row in rows if row["memory_id"] in still]
                tx.connection.execute(insert.on_conflict_do_nothing(), kept)

    def mark_embedded(self, batch: ClaimedBatch, seqs: Sequence[int]) -> None:
        """Mark memories as embedded: all their vectors are stored."""
        with self._store.transaction() as tx:
            _update_held(tx, batch.token, seqs, memories.c.state == "stored", state="embedded")

    def mark_searchable(self, batch: ClaimedBatch, points: Mapping[int, int], space: str) -> int:
        """Mark memories that the index of `space` has, by number with their points; return how many were still held."""
        by_count: dict[int, list[int]] = {}
        for seq, count in points.items():
            by_count.setdefault(count, []).append(seq)
        with self._store.transaction() as tx:
            return sum(
                _update_held(
                    tx,
                    batch.token,
                    seqs,
                    state="searchable",
                    space=space,
                    searchable_at=sa.func.coalesce(memories.c.searchable_at, db_time()),
                    indexed_version=memories.c.version,
                    points=count,
                    claim=None,
                    error=None,
                )
                for count, seqs in by_count.items()
            )

    def renew_lease(self, batch: ClaimedBatch, *, lease_s: float) -> int:
        """Hold the batch for `lease_s` seconds more; return how many of it are still held."""
        with self._store.transaction() as tx:
            seqs = [memory.seq for memory in batch.memories]
            return _update_held(tx, batch.token, seqs, due_at=db_time(lease_s))

    def find_forgotten(self, claimed: Sequence[MemoryRecord]) -> list[MemoryRecord]:
        """Return those that have no row any more."""
        query = sa.select(memories.c.id).where(memories.c.id.in_([memory.id for memory in claimed]))
        with self._store.read_connection() as connection:
            there = set(connection.execute(query).scalars())
        return [memory for memory in claimed if memory.id not in there]

    def release_memories(
        self, batch: ClaimedBatch, seqs: Sequence[int], *, delay_s: float, error: str, counted: bool
    ) -> int:
        """Give memories back, to be taken again after `delay_s` seconds.

        Args:
            batch: the claim.
            seqs: which of it.
            delay_s: seconds until they are due.
            error: the cause, kept for operators.
            counted: whether this was an attempt; False when the index is down, which is no fault of theirs.
        """
        attempts = memories.c.attempts if counted else memories.c.attempts - 1
        with self._store.transaction() as tx:
            return _update_held(
                tx, batch.token, seqs, claim=None, due_at=db_time(delay_s), error=error, attempts=attempts
            )

    def mark_dead(self, batch: ClaimedBatch, seqs: Sequence[int], *, error: str) -> int:
        """Give memories up. They stay stored and are found by keyword; `revive_dead` queues them again."""
        with self._store.transaction() as tx:
            return _update_held(tx, batch.token, seqs, **_DEAD, error=error)

    def list_dead(self, *, agent_id: str | None = None, limit: int = 50) -> list[DeadMemory]:
        """Return the newest memories that were given up."""
        query = sa.select(memories.c.id, memories.c.agent_id, memories.c.attempts, memories.c.error)
        query = query.where(memories.c.state == "dead").order_by(memories.c.seq.desc()).limit(limit)
        if agent_id is not None:
            query = query.where(memories.c.agent_id == agent_id)
        with self._store.read_connection() as connection:
            return [DeadMemory(*row) for row in connection.execute(query)]

    def revive_dead(self, *, agent_id: str | None = None) -> int:
        """Queue dead memories again with a fresh budget of attempts; return how many."""
        dead = [memories.c.state == "dead"]
        if agent_id is not None:
            dead.append(memories.c.agent_id == agent_id)
        return self._requeue_where(dead)

    def requeue_other_spaces(self, space: str) -> int:
        """Queue memories again that are searchable in another vector space alone; return how many."""
        return self._requeue_where([memories.c.state == "searchable", memories.c.space != space])

    def requeue(self, versions: Mapping[int, int]) -> int:
        """Queue searchable memories again, by number and the version that differed; return how many."""
        if not versions:
            return 0
        return self._requeue_where(
            [
                memories.c.state == "searchable",
                sa.tuple_(memories.c.seq, memories.c.indexed_version).in_(list(versions.items())),
            ]
        )

    def reindex(self, seqs: Sequence[int]) -> None:
        """Have searchable memories indexed anew, by number; they are found as they were until then."""
        if seqs:
            with self._store.transaction() as tx:
                indexed = memories.update().where(memories.c.state == "searchable", memories.c.seq.in_(seqs))
                tx.connection.execute(indexed.values(**new_version_values()))

    def _requeue_where(self, conditions: list[sa.ColumnElement[bool]]) -> int:
        with self._store.transaction() as tx:
            statement = memories.update().where(*conditions)
            done = tx.connection.execute(
                statement.values(
                    state="stored", attempts=0, due_at=db_time(), error=None, searchable_at=None, claim=None
                )
            )
            return done.rowcount

    def _next_agents(self, tx: Transaction, now: datetime, limit: int) -> list[str]:
        """Return agents with due memories, from after the last one of the claim before, so that all have their turn."""
        agents = _agents_after(tx, now, limit, self._after)
        if len(agents) < limit and self._after:
            agents += [agent for agent in _agents_after(tx, now, limit - len(agents), "") if agent <= self._after]
        self._after = agents[-1] if len(agents) == limit else ""
        return agents


def _agents_after(tx: Transaction, now: datetime, limit: int, after: str) -> list[str]:
    # Steps from agent to agent through the index, instead of reading every waiting row of each.
    def next_agent(lower: Any) -> sa.Select[str | None]:
        due = (pending, memories.c.due_at <= now, memories.c.agent_id > lower)
        return sa.select(sa.func.min(memories.c.agent_id).label("agent_id")).where(*due)

    walk = next_agent(sa.literal(after, memories.c.agent_id.type)).cte("walk", recursive=True)
    following = next_agent(walk.c.agent_id).correlate(walk).scalar_subquery()
    walk = walk.union_all(sa.select(following).where(walk.c.agent_id.is_not(None)))
    query = sa.select(walk.c.agent_id).where(walk.c.agent_id.is_not(None)).limit(limit)
    return [agent for (agent,) in tx.connection.execute(query)]


def _claim_oldest(
    tx: Transaction, agents: list[str], share: int, now: datetime, *, token: UUID, lease_s: float
) -> list[MemoryRecord]:
    """Claim up to `share` due memories of each agent, the oldest first."""
    chosen = tx.database.select_for_each(
        tx.connection, agents, lambda agent: _select_oldest(agent, share, now), skip_locked=True
    )
    if not chosen:
        return []
    claimed = memories.update().where(memories.c.seq.in_(chosen))
    claimed = claimed.values(claim=token, due_at=db_time(lease_s), attempts=memories.c.attempts + 1)
    found = tx.connection.execute(claimed.returning(*RECORD_COLUMNS)).mappings()
    return sorted((MemoryRecord(**row) for row in found), key=lambda memory: memory.seq)


def _select_oldest(agent: sa.ColumnElement[str], share: int, now: datetime) -> sa.Select[int]:
    due = (memories.c.agent_id == agent, pending, memories.c.due_at <= now)
    return sa.select(memories.c.seq).where(*due).order_by(memories.c.due_at, memories.c.seq).limit(share)


def _update_held(
    tx: Transaction, token: UUID, seqs: Sequence[int], *conditions: sa.ColumnElement[bool], **values: Any
) -> int:
    if not seqs:
        return 0
    held = (memories.c.claim == token, memories.c.seq.in_(seqs), *conditions)
    # In one order everywhere, as writers of statements do, so that two cannot wait for each other.
    tx.database.lock_in_order(tx.connection, sa.select(memories.c.seq).where(*held).order_by(memories.c.seq))
    return tx.connection.execute(memories.update().where(*held).values(**values)).rowcount
