"""Statements about a subject: the newest holds, the older ones stay as history.

Statements are in order of the time since which they hold, not of their arrival: one that comes late takes its place in
the past and does not undo a newer one. What was believed at a time is judged by the statements stored by then.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from agentstate.store.store import Transaction
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

_LOCKS = 0x6D656D
"""First key of every advisory lock on a subject."""


@dataclass(frozen=True)
class _Statement:
    seq: int
    id: UUID
    agent_id: str
    subject: str
    valid_from: datetime
    superseded_by: UUID | None


@dataclass(frozen=True)
class Placement:
    """The place of a new statement among those on its subject."""

    supersedes: UUID | None
    """The statement whose place it took."""
    superseded_at: datetime | None
    """Since when the next one holds, which was there already; None: it is the newest."""
    is_repeated: bool
    """Whether the same was stated about the subject before."""


_newer, _earlier = memories.alias("newer"), memories.alias("earlier")
_COLUMNS = tuple(memories.c[name] for name in _Statement.__dataclass_fields__)
_REPEATED = sa.exists().where(
    _earlier.c.agent_id == memories.c.agent_id,
    _earlier.c.subject == memories.c.subject,
    _earlier.c.content_sha == memories.c.content_sha,
    _earlier.c.seq < memories.c.seq,
)


def order_statements(tx: Transaction, new: Collection[UUID]) -> dict[UUID, Placement]:
    """Put the new statements among `new` into the order of their subjects; return the place of each."""
    query = sa.select(_REPEATED, *_COLUMNS).where(memories.c.id.in_(new), memories.c.subject.is_not(None))
    found = [(bool(repeated), _Statement(*row)) for repeated, *row in tx.connection.execute(query)]
    subjects = {f"{statement.agent_id}\x1f{statement.subject}" for _, statement in found}
    for key in sorted({zlib.crc32(subject.encode()) - 2**31 for subject in subjects}):
        tx.database.lock_key(tx.connection, _LOCKS, key)
    before = {statement.id: _read_adjacent(tx, statement, later=False) for _, statement in found}
    moved = {one.id: one for one in (*(each for _, each in found), *before.values()) if one is not None}
    # In one order everywhere, as the workers mark them, so that two writers cannot wait for each other.
    ends: dict[UUID, datetime | None] = {}
    for statement in sorted(moved.values(), key=lambda one: one.seq):
        newer = _read_adjacent(tx, statement, later=True)
        ends[statement.id] = None if newer is None else newer.valid_from
        if newer is not None and statement.superseded_by != newer.id:
            changed = memories.update().where(memories.c.seq == statement.seq)
            superseded = {"superseded_by": newer.id, "superseded_at": newer.valid_from}
            tx.connection.execute(changed.values(**superseded, **new_version_values()))
    return {
        statement.id: Placement(
            supersedes=older.id if (older := before[statement.id]) else None,
            superseded_at=ends[statement.id],
            is_repeated=repeated,
        )
        for repeated, statement in found
    }


def belief_conditions(as_of: datetime | sa.ColumnElement[datetime]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a memory that was held for true at a moment, judged by the rows stored then."""
    replaced = sa.exists().where(
        _newer.c.agent_id == memories.c.agent_id,
        _newer.c.subject == memories.c.subject,
        _newer.c.created_at <= as_of,
        _newer.c.valid_from <= as_of,
        sa.or_(
            _newer.c.valid_from > memories.c.valid_from,
            sa.and_(_newer.c.valid_from == memories.c.valid_from, _newer.c.seq > memories.c.seq),
        ),
    )
    return [
        memories.c.created_at <= as_of,
        sa.or_(memories.c.valid_from.is_(None), memories.c.valid_from <= as_of),
        sa.or_(memories.c.valid_to.is_(None), memories.c.valid_to > as_of),
        sa.or_(memories.c.superseded_at.is_(None), memories.c.superseded_at > as_of, ~replaced),
    ]


def new_version_values() -> dict[str, object]:
    """Return the columns that every change of a stored memory sets too: the index takes over the new version soon."""
    return {"version": memories.c.version + 1, "claim": None, "attempts": 0, "due_at": db_time()}


def _read_adjacent(tx: Transaction, statement: _Statement, *, later: bool) -> _Statement | None:
    """Return the statement on the same subject that is next in time, or the one before."""
    since, seq = memories.c.valid_from, memories.c.seq
    if later:
        side = sa.or_(since > statement.valid_from, sa.and_(since == statement.valid_from, seq > statement.seq))
    else:
        side = sa.or_(since < statement.valid_from, sa.and_(since == statement.valid_from, seq < statement.seq))
    query = sa.select(*_COLUMNS).where(
        memories.c.agent_id == statement.agent_id, memories.c.subject == statement.subject, side
    )
    order = (since.asc(), seq.asc()) if later else (since.desc(), seq.desc())
    found = tx.connection.execute(query.order_by(*order).limit(1)).first()
    return None if found is None else _Statement(*found)
