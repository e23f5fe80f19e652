"""What was said right before a turn: it is indexed with the turn, since an answer seldom repeats its question.

Turns belong together when they follow each other in one session without a long pause. A turn that is forgotten leaves
the index of those after it too: they are indexed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.facts.statements import new_version_values
from agentstate.memory.search.bm25 import PRECEDING_SHARES
from agentstate.store.store import Transaction
from agentstate.store.tables import memories

REACH = len(PRECEDING_SHARES)
"""Turns before that count."""
PAUSE = timedelta(hours=1)
"""After a longer pause a turn begins something new."""
CHARACTERS = 2_000
"""Read of a long turn at most: its end, which is nearest to what follows."""


class Said(Protocol):
    """A memory that may be a turn."""

    @property
    def id(self) -> UUID:
        """Its id."""

    @property
    def agent_id(self) -> str:
        """Whose it is."""

    @property
    def session(self) -> str | None:
        """The conversation."""

    @property
    def turn(self) -> int | None:
        """Its number there."""

    @property
    def content(self) -> str:
        """What was said."""

    @property
    def said_at(self) -> datetime | None:
        """When."""


_Key = tuple[str, str, int]


@dataclass(frozen=True)
class _Words:
    content: str
    said_at: datetime | None


def read_preceding(connection: Connection, batch: Sequence[Said]) -> dict[UUID, tuple[str, ...]]:
    """What was said before each turn of `batch`, the nearest first; memories that are no turns are left out."""
    turns = {memory.id: key for memory in batch if (key := _key(memory)) is not None}
    if not turns:
        return {}
    known = {turns[one.id]: _Words(one.content, one.said_at) for one in batch if one.id in turns}
    wanted = {earlier for key in turns.values() for earlier in _earlier(key)} - known.keys()
    known |= _read(connection, wanted)
    return {memory: tuple(_said(known, key)) for memory, key in turns.items()}


def reindex_followers(tx: Transaction, one: sa.ColumnElement[bool]) -> None:
    """Before the memory `one` is removed: let the turns after it, which are indexed with its words, be indexed anew."""
    columns = (memories.c.agent_id, memories.c.session, memories.c.turn)
    found = tx.connection.execute(sa.select(*columns).where(one, memories.c.turn.is_not(None))).first()
    if found is not None:
        agent_id, session, turn = found
        after = memories.c.turn.between(turn + 1, turn + REACH)
        place = (memories.c.agent_id == agent_id, memories.c.session == session, after)
        tx.connection.execute(memories.update().where(*place).values(**new_version_values()))


def _key(memory: Said) -> _Key | None:
    return None if memory.session is None or memory.turn is None else (memory.agent_id, memory.session, memory.turn)


def _earlier(key: _Key) -> list[_Key]:
    agent_id, session, turn = key
    return [(agent_id, session, turn - step) for step in range(1, REACH + 1) if turn > step]


def _said(known: Mapping[_Key, _Words], key: _Key) -> Iterable[str]:
    later = known[key].said_at
    for earlier in _earlier(key):
        words = known.get(earlier)
        if words is None or _paused(words.said_at, later):
            return
        yield words.content[-CHARACTERS:]
        later = words.said_at


def _paused(earlier: datetime | None, later: datetime | None) -> bool:
    return earlier is not None and later is not None and abs(later - earlier) > PAUSE


def _read(connection: Connection, wanted: set[_Key]) -> dict[_Key, _Words]:
    if not wanted:
        return {}
    place = sa.tuple_(memories.c.agent_id, memories.c.session, memories.c.turn)
    query = sa.select(
        memories.c.agent_id, memories.c.session, memories.c.turn, memories.c.content, memories.c.said_at
    ).where(place.in_(sorted(wanted)))
    return {(agent, session, turn): _Words(text, at) for agent, session, turn, text, at in connection.execute(query)}
