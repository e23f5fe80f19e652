"""The rows of semantic memory: how a memory is identified, written once, and read again by its agent.

A memory's id is derived from what makes it the same memory (agent, kind, content; for a turn also where it was said,
for a statement on a subject also since when), so a retry finds the first one instead of making a second. Whoever reads
has to say for whom: `MemoryRows` is made for an agent, and every query of it carries the agent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from agentstate.ids import derive_id
from agentstate.memory.facts.texts import search_text
from agentstate.store.store import Transaction
from agentstate.store.tables import memories

TURN = "turn"
"""The kind of a memory that is one turn of a conversation."""
USUAL_IMPORTANCE = 5
"""Of 1 to 10."""
SHARED = "/"
"""What the tenant of a shared namespace begins with; no agent's name can."""


def tenant_name(agent_id: str, namespace: str | None = None) -> str:
    """Under which name a memory is kept: the agent's own, or a namespace's that several agents share."""
    return agent_id if namespace is None else SHARED + namespace


@dataclass(frozen=True, kw_only=True)
class NewMemory:
    """Something to remember."""

    agent_id: str
    content: str
    kind: str = "fact"
    """What sort of thing it is: `fact`, `lesson`, `strategy`, `event`, `turn`, or a name of the caller's."""
    metadata: dict[str, Any] | None = None
    source: str | None = None
    """Where it comes from; for a turn its id in the conversation."""
    at: datetime | None = None
    """When it happened or was said; aware."""
    session: str | None = None
    speaker: str | None = None
    turn: int | None = None
    """A turn's number in its conversation."""
    subject: str | None = None
    """What it is a statement about, such as `wallet.usdc`: the newest about the same holds, the older are history."""
    importance: int = USUAL_IMPORTANCE
    """From 1 to 10."""
    valid_from: datetime | None = None
    """Since when it holds; left out: since `at`, or since it is stored."""
    valid_to: datetime | None = None
    """Until when it holds, that moment excluded; left out: for good."""
    namespace: str | None = None
    """A namespace that several agents share, to keep it there instead."""

    @property
    def tenant(self) -> str:
        """Under which name it is kept."""
        return tenant_name(self.agent_id, self.namespace)

    @property
    def holds_from(self) -> datetime | None:
        """Since when it holds, as far as the caller said."""
        return self.valid_from or self.at

    @cached_property
    def id(self) -> UUID:
        """The same for the same memory, in every process and for ever."""
        said = (self.session or "", self.source or "") if self.kind == TURN else ()
        return derive_id("memory", self.tenant, self.kind, self.content, *said, *self._about())

    def _about(self) -> tuple[str, ...]:
        if self.subject is None:
            return ()
        return self.subject, self.holds_from.astimezone(UTC).isoformat() if self.holds_from else ""


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """A memory as it is stored."""

    id: UUID
    seq: int
    agent_id: str
    """Whose it is: an agent, or `/` and the name of a shared namespace."""
    author: str | None
    """The agent that wrote it into a shared namespace."""
    kind: str
    content: str
    state: str
    metadata: dict[str, Any] | None
    source: str | None
    session: str | None
    speaker: str | None
    turn: int | None
    at: datetime | None
    created_at: datetime
    error: str | None
    importance: int
    subject: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    superseded_by: UUID | None
    """The statement on the same subject that holds in its place."""
    superseded_at: datetime | None
    """Since when that one does."""

    @property
    def text(self) -> str:
        """What is searched for it."""
        return search_text(self.content, speaker=self.speaker, said_at=self.at)


_COLUMNS = tuple(
    memories.c.said_at.label("at") if name == "at" else memories.c[name] for name in MemoryRecord.__dataclass_fields__
)


_FIELDS = tuple(MemoryRecord.__dataclass_fields__)
_MINE = memories.c.agent_id.in_(sa.bindparam("tenants", expanding=True))
"""The agent's own, and those of the namespaces that it named: in every statement of `MemoryRows`."""
_SEARCHED = (memories.c.content, memories.c.speaker)
_SPECIAL, _ESCAPED = re.compile(r"[%_\\]"), r"\\\g<0>"
Conditions = tuple[sa.ColumnElement[bool], ...]


@dataclass(frozen=True)
class StoredState:
    """Where a memory stands that was there already."""

    seq: int
    state: str
    superseded_by: UUID | None


def insert_memories(tx: Transaction, items: Sequence[NewMemory]) -> dict[UUID, int]:
    """Write what is not there yet; return the new ones' numbers by id."""
    starts = _statement_starts(tx, items)
    rows = {item.id: _memory_row(item, starts.get(item.id)) for item in items}
    if not rows:
        return {}
    dialect = postgresql if tx.dialect == "postgresql" else sqlite
    statement = dialect.insert(memories).on_conflict_do_nothing(index_elements=["id"])
    # In one order everywhere, so that two batches with the same memories cannot wait for each other.
    in_order = [rows[memory] for memory in sorted(rows)]
    written = tx.connection.execute(statement.returning(memories.c.id, memories.c.seq), in_order)
    return dict(written.all())


def read_states(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, StoredState]:
    """Where those of `ids` stand that exist."""
    query = sa.select(memories.c.id, memories.c.seq, memories.c.state, memories.c.superseded_by)
    found = connection.execute(query.where(memories.c.id.in_(ids)))
    return {memory: StoredState(seq, state, superseded_by) for memory, seq, state, superseded_by in found}


class MemoryRows:
    """The memories that one agent may read: its own, and those of shared namespaces that it named.

    Args:
        connection: for the reads.
        tenants: the agent, and `tenant(...)` of each namespace.
    """

    def __init__(self, connection: Connection, tenants: str | Sequence[str]) -> None:
        self._connection = connection
        self._tenants = [tenants] if isinstance(tenants, str) else list(tenants)

    def read_ids(self, ids: Sequence[UUID], *conditions: sa.ColumnElement[bool]) -> dict[UUID, MemoryRecord]:
        """Those of `ids` that exist and meet `conditions`."""
        return {found.id: found for found in self._select_records(memories.c.id.in_(ids), *conditions)}

    def read_and_find(
        self, ids: Sequence[UUID], pieces: Sequence[str], *either: sa.ColumnElement[bool], both: Conditions, limit: int
    ) -> tuple[list[MemoryRecord], list[MemoryRecord]]:
        """In one journey: those of `ids`, and the newest that meet one of `either` and hold any of `pieces`.

        Args:
            ids: of the former.
            pieces: looked for in content and speaker of the latter.
            either: what the latter must meet one of; no memory meets two of them.
            both: what both must meet.
            limit: how many of the latter at most.
        """
        wanted = {"ids": list(ids), "limit": limit, **_like_patterns(self._connection, pieces)}
        query = _read_and_find(self._connection.dialect.name, len(pieces), either, tuple(both))
        there: list[MemoryRecord] = []
        newest: list[MemoryRecord] = []
        for named, *row in self._connection.execute(query, {"tenants": self._tenants, **wanted}):
            (there if named else newest).append(MemoryRecord(**dict(zip(_FIELDS, row, strict=True))))
        return there, sorted(newest, key=lambda one: -one.seq)

    def read_page(self, *conditions: sa.ColumnElement[bool], after: int = 0, limit: int = 500) -> list[MemoryRecord]:
        """The next after number `after`, oldest first."""
        return self._select_records(memories.c.seq > after, *conditions, order=memories.c.seq, limit=limit)

    def read_neighbours(
        self, places: Collection[tuple[str, str, int]], reach: int
    ) -> dict[tuple[str, str, int], MemoryRecord]:
        """The turns up to `reach` before and after those at (agent, session, number), by the same."""
        wanted = {
            (agent, session, turn + step)
            for agent, session, turn in places
            for step in range(-reach, reach + 1)
            if turn + step > 0
        }
        at = sa.tuple_(memories.c.agent_id, memories.c.session, memories.c.turn)
        found = self._select_records(at.in_(sorted(wanted))) if wanted else []
        return {(one.agent_id, one.session or "", one.turn or 0): one for one in found}

    def read_statements(self, subject: str, *conditions: sa.ColumnElement[bool]) -> list[MemoryRecord]:
        """The statements about `subject`, by the time since which they hold; of one time, as they were stored."""
        order = (memories.c.valid_from, memories.c.seq)
        return sorted(
            self._select_records(memories.c.subject == subject, *conditions, order=order),
            key=lambda found: (found.valid_from or found.created_at, found.seq),
        )

    def _select_records(
        self, *conditions: sa.ColumnElement[bool], order: Any = (), limit: int | None = None
    ) -> list[MemoryRecord]:
        ordered = order if isinstance(order, tuple) else (order,)
        query = sa.select(*_COLUMNS).where(_MINE, *conditions).order_by(*ordered).limit(limit)
        found = self._connection.execute(query, {"tenants": self._tenants})
        return [MemoryRecord(**row) for row in found.mappings()]


@lru_cache(maxsize=128)
def _read_and_find(dialect: str, pieces: int, either: Conditions, both: Conditions) -> sa.CompoundSelect[Any]:
    """The statement of `MemoryRows.read_and_find`; making it takes longer than to run it."""
    ids: Any = sa.bindparam("ids", expanding=True)
    if dialect == "postgresql":
        # One text of the statement for any number of ids and words: the server keeps its plan.
        ids = sa.any_(sa.bindparam("ids", type_=postgresql.ARRAY(sa.Uuid())))
        any_of_them = sa.any_(sa.bindparam("patterns", type_=postgresql.ARRAY(sa.Text())))
        holds = [column.ilike(any_of_them) for column in _SEARCHED]
    else:
        patterns = [sa.bindparam(f"pattern{number}", type_=sa.Text()) for number in range(pieces)]
        holds = [column.ilike(pattern, escape="\\") for column in _SEARCHED for pattern in patterns]
    named = memories.c.id == ids if dialect == "postgresql" else memories.c.id.in_(ids)
    there = sa.select(sa.true().label("named"), *_COLUMNS).where(_MINE, named, *both)
    # Each alternative by itself, so that each is looked up in its index also where the database has no statistics yet:
    # joined by OR, all memories of the agent were read.
    newest = sa.select(sa.false().label("named"), *_COLUMNS).where(_MINE, *both, sa.or_(*holds))
    found = sa.union_all(*(newest.where(one) for one in either)).subquery()
    limited = sa.select(found).order_by(found.c.seq.desc()).limit(sa.bindparam("limit", type_=sa.Integer()))
    return sa.union_all(there, sa.select(limited.subquery()))


def _like_patterns(connection: Connection, pieces: Sequence[str]) -> dict[str, Any]:
    patterns = [f"%{_SPECIAL.sub(_ESCAPED, piece)}%" for piece in pieces]
    if connection.dialect.name == "postgresql":
        return {"patterns": patterns}
    return {f"pattern{number}": pattern for number, pattern in enumerate(patterns)}


def _statement_starts(tx: Transaction, items: Iterable[NewMemory]) -> dict[UUID, datetime]:
    """Since when each statement holds: of several given at once without a time, the later ones are the newer ones."""
    statements = [item for item in items if item.subject is not None]
    if not statements:
        return {}
    now = tx.now()
    return {
        item.id: item.holds_from or now + timedelta(microseconds=position) for position, item in enumerate(statements)
    }


def _memory_row(item: NewMemory, starts: datetime | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "agent_id": item.tenant,
        "author": None if item.namespace is None else item.agent_id,
        "kind": item.kind,
        "content": item.content,
        "content_sha": hashlib.sha256(item.content.encode()).digest(),
        "metadata": item.metadata,
        "source": item.source,
        "session": item.session,
        "speaker": item.speaker,
        "turn": item.turn,
        "said_at": item.at,
        "importance": item.importance,
        "subject": item.subject,
        "valid_from": starts or item.valid_from,
        "valid_to": item.valid_to,
    }
