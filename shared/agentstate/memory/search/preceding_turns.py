"""The turns right before a turn: they are indexed with it, since an answer seldom repeats its question.

Turns belong together when they follow each other in one session without a long pause. A turn that is forgotten leaves
the index of those after it too: they are indexed again. How much a word counts depends on how long the agent's texts
usually are: a word of a short note tells more than one of a long answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.facts.statements import new_version_values
from agentstate.memory.search.terms import PRECEDING_SHARES, USUAL_TERMS, split_terms
from agentstate.store.engine import database_of
from agentstate.store.store import Transaction
from agentstate.store.tables import memories

REACH = len(PRECEDING_SHARES)
"""Turns before that count."""
PAUSE = timedelta(hours=1)
"""After a longer pause a turn begins a new topic."""
CHARACTERS = 2_000
"""Read of a long turn at most: its end, which is nearest to the turn after it."""

USUAL_OF = 256
"""The newest memories of an agent that tell how long its memories usually are."""
PRIOR_MEMORIES = 8
"""Weight of USUAL_TERMS beside them, so that the first memories of an agent tell little."""


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of a batch of memories: texts said before, and the usual length of a text."""

    before: Mapping[UUID, tuple[str, ...]]
    """The texts of the turns right before a turn, the nearest first."""
    usual_terms: Mapping[str, float]
    """How many terms a usual memory of an agent has."""

    @classmethod
    def read(cls, connection: Connection, batch: Sequence[MemoryRecord]) -> Surroundings:
        """Read the surroundings of `batch`."""
        return cls(read_preceding(connection, batch), read_usual_terms(connection, batch))


_Place = tuple[str, str, int]
_PLACE = (memories.c.agent_id, memories.c.session, memories.c.turn)


def read_preceding(connection: Connection, batch: Sequence[MemoryRecord]) -> dict[UUID, tuple[str, ...]]:
    """Return the texts of the turns before each turn of `batch`, the nearest first, by id; none for other memories."""
    turns = {
        one.id: (one.agent_id, one.session, one.turn)
        for one in batch
        if one.session is not None and one.turn is not None
    }
    if not turns:
        return {}
    known: dict[_Place, tuple[str, datetime | None]] = {
        turns[one.id]: (one.content, one.at) for one in batch if one.id in turns
    }
    if wanted := {earlier for place in turns.values() for earlier in _earlier_places(place)} - known.keys():
        query = sa.select(*_PLACE, memories.c.content, memories.c.said_at)
        for agent, session, turn, text, at in connection.execute(query.where(sa.tuple_(*_PLACE).in_(sorted(wanted)))):
            known[agent, session, turn] = (text, at)

    preceding: dict[UUID, tuple[str, ...]] = {}
    for memory, place in turns.items():
        texts: list[str] = []
        later = known[place][1]
        for earlier in _earlier_places(place):
            text, at = known.get(earlier, (None, None))
            if text is None or (at is not None and later is not None and abs(later - at) > PAUSE):
                break
            texts.append(text[-CHARACTERS:])
            later = at
        preceding[memory] = tuple(texts)
    return preceding


def read_usual_terms(connection: Connection, batch: Sequence[MemoryRecord]) -> dict[str, float]:
    """Return how many terms a usual memory has, by agent: judged by the newest of each, and a little by the batch."""
    newest = database_of(connection).select_for_each(
        connection,
        sorted({memory.agent_id for memory in batch}),
        lambda agent: (
            sa.select(memories.c.seq)
            .where(memories.c.agent_id == agent, memories.c.state == "searchable")
            .order_by(memories.c.seq.desc())
            .limit(USUAL_OF)
        ),
    )
    sums = (sa.func.count(), sa.func.sum(sa.func.length(memories.c.content)))
    query = sa.select(memories.c.agent_id, *sums).where(memories.c.seq.in_(newest)).group_by(memories.c.agent_id)
    counts, lengths = Counter[str](), Counter[str]()
    for agent, count, characters in connection.execute(query):
        counts[agent], lengths[agent] = count, int(characters)
    for memory in batch:
        counts[memory.agent_id] += 1
        lengths[memory.agent_id] += len(memory.content)
    terms = sum(len(split_terms(memory.content[:CHARACTERS])) for memory in batch)
    share = terms / max(sum(len(memory.content[:CHARACTERS]) for memory in batch), 1)
    return {
        agent: (USUAL_TERMS * PRIOR_MEMORIES + share * lengths[agent]) / (PRIOR_MEMORIES + count)
        for agent, count in counts.items()
    }


def reindex_followers(tx: Transaction, one: sa.ColumnElement[bool]) -> tuple[str, str, int] | None:
    """Before the memory `one` is removed, have the turns after it, which are indexed with its words, indexed again.

    Return its agent, session and number if it is a turn.
    """
    found = tx.connection.execute(sa.select(*_PLACE).where(one, memories.c.turn.is_not(None))).first()
    if found is None:
        return None
    agent_id, session, turn = found
    after = memories.c.turn.between(turn + 1, turn + REACH)
    place = (memories.c.agent_id == agent_id, memories.c.session == session, after)
    tx.connection.execute(memories.update().where(*place).values(**new_version_values()))
    return agent_id, session, turn


def _earlier_places(place: _Place) -> list[_Place]:
    agent_id, session, turn = place
    return [(agent_id, session, turn - step) for step in range(1, REACH + 1) if turn > step]
