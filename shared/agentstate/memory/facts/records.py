"""The rows of semantic memory: how a memory is identified, written once, and read again by its agent.

A memory's id is derived from what makes it the same memory, so that a retry finds the first one instead of making a
second: agent, kind, content; the subject and the times that the caller named, since the rent paid in May is not the
rent paid in June; for a turn, where it was said. Reads name their tenants: `MemoryRows` is made for an agent, and every
query of it carries the agent.
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
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput, TooLarge
from agentstate.ids import derive_id, shorten_repr, validate_name
from agentstate.memory.facts.texts import check_aware, check_kind, check_label, check_text, check_whole, search_text
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.database import Database
from agentstate.store.engine import database_of
from agentstate.store.store import Transaction
from agentstate.store.tables import forgotten_memories, memories

TURN = "turn"
"""The kind of a memory that is one turn of a conversation."""
USUAL_IMPORTANCE = 5
"""Of 1 to 10."""
MAX_IMPORTANCE = 10
MAX_TURN = 2**31 - 1
SHARED = "/"
"""Begins the tenant name of a shared namespace; no agent's name can begin with it."""

Conditions = tuple[sa.ColumnElement[bool], ...]


def tenant_name(agent_id: str, namespace: str | None = None) -> str:
    """Return the tenant that owns a memory: the agent, or a namespace that several agents share."""
    return agent_id if namespace is None else SHARED + namespace


@dataclass(frozen=True, kw_only=True)
class NewMemory:
    """A memory to be stored; see `AgentMemory.remember` for the fields that both have."""

    content: str
    agent_id: str = ""
    """The owner; `AgentMemory.remember_many` fills it in."""
    kind: str = "fact"
    """`fact`, `lesson`, `strategy`, `event`, `turn`, or a name of the caller's."""
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
        """The tenant that will own it."""
        return tenant_name(self.agent_id, self.namespace)

    @property
    def holds_from(self) -> datetime | None:
        """Since when it holds, as far as the caller said."""
        return self.valid_from or self.at

    @cached_property
    def id(self) -> UUID:
        """The same for the same memory, in every process and for ever."""
        named: dict[str, object] = {"subject": self.subject, "from": self.valid_from, "to": self.valid_to}
        if self.kind == TURN:
            named |= {"session": self.session or "", "source": self.source or ""}
        if self.kind != TURN or not self.source:
            named["at"] = self.at
        parts = [
            f"{name}={value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value}"
            for name, value in named.items()
            if value is not None
        ]
        return derive_id("memory", self.tenant, self.kind, self.content, *parts)


def check_memory(item: NewMemory, settings: Settings) -> NewMemory:
    """Return `item` if it may be stored; raises InvalidInput, TooLarge."""
    if not isinstance(item, NewMemory):
        raise InvalidInput(f"items has {shorten_repr(item)}; give a NewMemory for each. Nothing was stored.")
    validate_name(item.agent_id)
    if item.namespace is not None:
        validate_name(item.namespace, "namespace")
    if item.turn is not None:
        check_whole(item.turn, "turn", most=MAX_TURN)
    check_text(item.content, limit=settings.max_text_bytes)
    check_kind(item.kind)
    check_label(item.source, "source")
    check_label(item.speaker, "speaker")
    check_label(item.subject, "subject")
    if item.session is not None:
        validate_name(item.session, "session")
    for what, moment in (("at", item.at), ("valid_from", item.valid_from), ("valid_to", item.valid_to)):
        check_aware(moment, what)
    if item.valid_to is not None and item.holds_from is not None and item.valid_to <= item.holds_from:
        raise InvalidInput(
            f"a memory that holds from {item.holds_from.isoformat()} cannot end at {item.valid_to.isoformat()}. "
            "Nothing was stored."
        )
    check_whole(item.importance, "importance", most=MAX_IMPORTANCE)
    if item.metadata is not None:
        if not isinstance(item.metadata, dict):
            raise InvalidInput(f"metadata is {shorten_repr(item.metadata)}; give a dict. Nothing was stored.")
        try:
            size, limit = len(codec.dumps(item.metadata).encode()), settings.max_payload_bytes
        except InvalidInput as error:
            raise type(error)(f"the metadata cannot be stored: {error.message}") from None
        if size > limit:
            raise TooLarge(f"the metadata has {size:,} bytes, over the limit of {limit:,}. Nothing was stored.")
    return item


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """A memory as it is stored."""

    id: UUID
    seq: int
    agent_id: str
    """The tenant: an agent, or `/` and the name of a shared namespace."""
    author: str | None = None
    """The agent that wrote it into a shared namespace."""
    kind: str
    content: str
    state: str = "stored"
    """`stored`, `embedded` (its vectors are kept), `searchable` (indexed), or `dead` (will not be indexed)."""
    metadata: dict[str, Any] | None = None
    source: str | None = None
    session: str | None = None
    speaker: str | None = None
    turn: int | None = None
    at: datetime | None = None
    """When it happened or was said."""
    created_at: datetime
    """When it was stored."""
    error: str | None = None
    """Why it was not indexed at the last attempt."""
    importance: int = USUAL_IMPORTANCE
    subject: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    superseded_by: UUID | None = None
    """The statement on the same subject that holds in its place."""
    superseded_at: datetime | None = None
    """Since when that one does."""
    version: int = 1
    """Grows with every change that the index has to follow."""
    attempts: int = 0
    """How often a worker has claimed it since it was last indexed."""

    @property
    def text(self) -> str:
        """The text that is searched."""
        return search_text(self.content, speaker=self.speaker, said_at=self.at)

    @property
    def holds_until(self) -> datetime | None:
        """When it ended, or the next statement on its subject began; None: it holds for good."""
        ends = [moment for moment in (self.valid_to, self.superseded_at) if moment is not None]
        return min(ends, default=None)


_FIELDS = tuple(MemoryRecord.__dataclass_fields__)
RECORD_COLUMNS = tuple(memories.c.said_at.label("at") if name == "at" else memories.c[name] for name in _FIELDS)
"""The columns of a MemoryRecord, in the order of its fields."""
_MINE = memories.c.agent_id.in_(sa.bindparam("tenants", expanding=True))
"""The agent's own, and those of the namespaces that it named: in every statement of `MemoryRows`."""
_SEARCHED = (memories.c.content, memories.c.speaker)
_SPECIAL, _ESCAPED = re.compile(r"[%_\\]"), r"\\\g<0>"


@dataclass(frozen=True)
class StoredState:
    """The state of a memory that was stored before."""

    seq: int
    state: str
    space: str | None
    superseded_by: UUID | None
    superseded_at: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None


_STATE_FIELDS = tuple(StoredState.__dataclass_fields__)


def insert_memories(tx: Transaction, items: Sequence[NewMemory]) -> dict[UUID, int]:
    """Insert the memories that are not stored yet; return the new ones' numbers by id."""
    # Of several statements given at once without a time, the later ones are the newer ones.
    undated = [item for item in items if item.subject is not None and item.holds_from is None]
    now = tx.now() if undated else None
    starts = {item.id: now + timedelta(microseconds=n) for n, item in enumerate(undated)} if now else {}
    rows = {
        item.id: {
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
            "valid_from": starts.get(item.id) or (item.holds_from if item.subject is not None else item.valid_from),
            "valid_to": item.valid_to,
        }
        for item in items
    }
    if not rows:
        return {}
    statement = tx.database.insert_into(memories).on_conflict_do_nothing(index_elements=["id"])
    # In one order everywhere, so that two batches with the same memories cannot wait for each other.
    in_order = [rows[memory] for memory in sorted(rows)]
    return dict(tx.connection.execute(statement.returning(memories.c.id, memories.c.seq), in_order).all())


def find_forgotten(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Return those of `ids` that were forgotten one by one."""
    query = sa.select(forgotten_memories.c.id).where(forgotten_memories.c.id.in_(ids))
    return set(connection.execute(query).scalars()) if ids else set()


def read_states(connection: Connection, ids: Collection[UUID]) -> dict[UUID, StoredState]:
    """Return the state of those of `ids` that exist, by id."""
    query = sa.select(memories.c.id, *(memories.c[name] for name in _STATE_FIELDS)).where(memories.c.id.in_(ids))
    return {memory: StoredState(*state) for memory, *state in connection.execute(query)} if ids else {}


class MemoryRows:
    """The memories that one agent may read: its own, and those of shared namespaces that it named.

    Args:
        connection: for the reads.
        tenants: the agent, and `tenant_name(...)` of each namespace.
    """

    def __init__(self, connection: Connection, tenants: str | Sequence[str]) -> None:
        self._connection = connection
        self._tenants = [tenants] if isinstance(tenants, str) else list(tenants)

    def read_ids(self, ids: Sequence[UUID], *conditions: sa.ColumnElement[bool]) -> dict[UUID, MemoryRecord]:
        """Return those of `ids` that exist and meet `conditions`, by id."""
        if not ids:
            return {}
        query = _ids_query(database_of(self._connection), conditions)
        rows = self._connection.execute(query, {"tenants": self._tenants, "ids": list(ids)})
        return {found.id: found for found in (MemoryRecord(**row) for row in rows.mappings())}

    def find_pieces(
        self, pieces: Sequence[str], *either: sa.ColumnElement[bool], both: Conditions, limit: int
    ) -> list[MemoryRecord]:
        """Return the newest memories that contain one of `pieces` in content or speaker, newest first.

        Args:
            pieces: short texts, compared without case.
            either: alternatives, of which each memory meets at most one.
            both: conditions that every memory must meet.
            limit: memories at most.
        """
        connection = self._connection
        patterns = [f"%{_SPECIAL.sub(_ESCAPED, piece)}%" for piece in pieces]
        database = database_of(connection)
        given = database.pattern_parameters(patterns)
        query = _pieces_query(database, len(pieces), either, tuple(both))
        found = connection.execute(query, {"tenants": self._tenants, "limit": limit, **given})
        return [MemoryRecord(**dict(zip(_FIELDS, row, strict=True))) for row in found]

    def read_page(self, *conditions: sa.ColumnElement[bool], after: int = 0, limit: int = 500) -> list[MemoryRecord]:
        """Return the next memories after number `after`, oldest first."""
        return self._select_records(memories.c.seq > after, *conditions, order=(memories.c.seq,), limit=limit)

    def read_newest(self, *conditions: sa.ColumnElement[bool], limit: int) -> list[MemoryRecord]:
        """Return the newest memories, newest first."""
        return self._select_records(*conditions, order=(memories.c.seq.desc(),), limit=limit)

    def read_neighbours(
        self, places: Collection[tuple[str, str, int]], reach: int
    ) -> dict[tuple[str, str, int], MemoryRecord]:
        """Return the turns up to `reach` before and after those at (agent, session, number), by the same."""
        wanted = {
            (agent, session, turn + step)
            for agent, session, turn in places
            for step in range(-reach, reach + 1)
            if turn + step > 0
        }
        place = sa.tuple_(memories.c.agent_id, memories.c.session, memories.c.turn)
        found = self._select_records(place.in_(sorted(wanted))) if wanted else []
        return {(one.agent_id, one.session or "", one.turn or 0): one for one in found}

    def read_statements(self, subject: str, *conditions: sa.ColumnElement[bool]) -> list[MemoryRecord]:
        """Return the statements about `subject`, by the time since which they hold, then as they were stored."""
        order = (memories.c.valid_from, memories.c.seq)
        found = self._select_records(memories.c.subject == subject, *conditions, order=order)
        return sorted(found, key=lambda one: (one.valid_from or one.created_at, one.seq))

    def _select_records(
        self, *conditions: sa.ColumnElement[bool], order: Iterable[Any] = (), limit: int | None = None
    ) -> list[MemoryRecord]:
        query = sa.select(*RECORD_COLUMNS).where(_MINE, *conditions).order_by(*order).limit(limit)
        found = self._connection.execute(query, {"tenants": self._tenants})
        return [MemoryRecord(**row) for row in found.mappings()]


@lru_cache(maxsize=128)
def _ids_query(database: Database, conditions: Conditions) -> sa.Select[Any]:
    """Return the statement of `MemoryRows.read_ids`; making it takes longer than running it."""
    named = database.match_any_id(memories.c.id, "ids")
    return sa.select(*RECORD_COLUMNS).where(_MINE, named, *conditions)


@lru_cache(maxsize=128)
def _pieces_query(database: Database, pieces: int, either: Conditions, both: Conditions) -> sa.Select[Any]:
    """Return the statement of `MemoryRows.find_pieces`; making it takes longer than running it."""
    holds = database.match_any_pattern(_SEARCHED, pieces)
    # Each alternative by itself, so that each is looked up in its index also where the database has no statistics yet:
    # joined by OR, all memories of the agent were read.
    newest = sa.select(*RECORD_COLUMNS).where(_MINE, *both, sa.or_(*holds))
    found = sa.union_all(*(newest.where(one) for one in either)).subquery()
    return sa.select(found).order_by(found.c.seq.desc()).limit(sa.bindparam("limit", type_=sa.Integer()))
