"""Statements about a subject: the newest holds, the older ones stay as history.

Statements are in order of the time since which they hold, not of their arrival: one that comes late takes its place in
the past and does not undo a newer one. What was believed at a time goes by what was stored by then.
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
"""Begins every advisory lock on a subject."""


@dataclass(frozen=True)
class _Statement:
    seq: int
    id: UUID
    agent_id: str
    subject: str
    valid_from: datetime
    superseded_by: UUID | None


_newer = memories.alias("newer")
_COLUMNS = tuple(memories.c[name] for name in _Statement.__dataclass_fields__)


def order_statements(tx: Transaction, new: Collection[UUID]) -> dict[UUID, UUID]:
    """Put the new statements among `new` into the order of their subjects; return what each took the place of."""
    query = sa.select(*_COLUMNS).where(memories.c.id.in_(new), memories.c.subject.is_not(None))
    statements = [_Statement(*row) for row in tx.connection.execute(query)]
    _lock_subjects(tx, {(statement.agent_id, statement.subject) for statement in statements})
    before = {statement.id: _read_adjacent(tx, statement, later=False) for statement in statements}
    moved = {one.id: one for one in (*statements, *before.values()) if one is not None}
    # In one order everywhere, as the workers mark them, so that two writers cannot wait for each other.
    for statement in sorted(moved.values(), key=lambda one: one.seq):
        _mark_superseded(tx, statement, _read_adjacent(tx, statement, later=True))
    return {memory: older.id for memory, older in before.items() if older is not None}


def belief_conditions(at: datetime | sa.ColumnElement[datetime]) -> list[sa.ColumnElement[bool]]:
    """What a memory must meet to be held for true at a moment: stored by then, and holding by what was known then."""
    replaced = sa.exists().where(
        _newer.c.agent_id == memories.c.agent_id,
        _newer.c.subject == memories.c.subject,
        _newer.c.created_at <= at,
        _newer.c.valid_from <= at,
        sa.or_(
            _newer.c.valid_from > memories.c.valid_from,
            sa.and_(_newer.c.valid_from == memories.c.valid_from, _newer.c.seq > memories.c.seq),
        ),
    )
    return [
        memories.c.created_at <= at,
        sa.or_(memories.c.valid_from.is_(None), memories.c.valid_from <= at),
        sa.or_(memories.c.valid_to.is_(None), memories.c.valid_to > at),
        sa.or_(memories.c.superseded_at.is_(None), memories.c.superseded_at > at, ~replaced),
    ]


def _lock_subjects(tx: Transaction, subjects: Collection[tuple[str, str]]) -> None:
    """Hold off others that write about the same subjects; on SQLite there is one writer anyway."""
    if tx.dialect != "postgresql":
        return
    for key in sorted({zlib.crc32("\x1f".join(subject).encode()) - 2**31 for subject in subjects}):
        tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCKS, key)))


def _read_adjacent(tx: Transaction, statement: _Statement, *, later: bool) -> _Statement | None:
    """The statement on the same subject that is next in time, or the one before."""
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


def _mark_superseded(tx: Transaction, statement: _Statement, newer: _Statement | None) -> None:
    """Note what takes its place, and let the index hear of it."""
    if newer is None or statement.superseded_by == newer.id:
        return
    changed = memories.update().where(memories.c.seq == statement.seq)
    tx.connection.execute(
        changed.values(superseded_by=newer.id, superseded_at=newer.valid_from, **new_version_values()),
    )


def new_version_values() -> dict[str, object]:
    """What every change of a stored memory does beside: a new version, which the index takes over soon."""
    return {"version": memories.c.version + 1, "claim": None, "attempts": 0, "due_at": db_time()}
