"""Search in the durable store itself: for memories that the index lacks as yet, and for all when it does not answer.

The database picks the newest memories that contain a word of the query; they are ranked here as the index would rank
them. It is slower than the index and needs none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa

from agentstate.memory.facts.records import MemoryRecord, MemoryRows
from agentstate.memory.facts.statements import belief_conditions
from agentstate.memory.search.filters import Scope, meets_where
from agentstate.memory.search.fusion import EXACT, KEYWORD_STORE, Found
from agentstate.memory.search.terms import find_identifiers, rank_texts, split_terms
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

STORE_DEPTH = 2_000
"""Memories ranked at most, the newest that contain a word of the query."""
MAX_WORDS = 32
"""Words of the query that are looked for at most, the longest."""

_NUMBER = re.compile(r"\d+(\.\d+)?")
_BEFORE_LAST_GROUP = re.compile(r"\A\d+(?=\d{3}(\.|\Z))")
_SHORTEST_STEM = 4


def find_in_store(rows: MemoryRows, scope: Scope, query: str, *, beside: str | None) -> list[MemoryRecord]:
    """Return the newest memories in `scope` that contain a word of `query`.

    Args:
        rows: the memories of the scope's tenants.
        scope: the memories that may be seen.
        query: the question.
        beside: only memories that the index of this vector space lacks; None: all.
    """
    words = sorted(set(split_terms(query)), key=len, reverse=True)[:MAX_WORDS]
    if not words:
        return []
    either = (sa.true(),) if beside is None else _not_indexed_in(beside)
    pieces = [_common_piece(word) for word in words]
    found = rows.find_pieces(pieces, *either, both=_scope_conditions(scope), limit=STORE_DEPTH)
    return [one for one in found if meets_where(one.metadata, scope.where)]


def read_in_scope(rows: MemoryRows, scope: Scope, ids: Sequence[UUID]) -> list[MemoryRecord]:
    """Return those of `ids` that exist and are in `scope`."""
    found = rows.read_ids(ids, *_scope_conditions(scope)).values()
    return [one for one in found if meets_where(one.metadata, scope.where)]


def add_ranked(indexed: Mapping[str, Found], held: Sequence[MemoryRecord], query: str) -> dict[str, Found]:
    """Add to the answer of the index, by retriever, the memories `held`, ranked by words and identifiers."""
    best = rank_texts(query, [one.text for one in held])
    found = {**indexed, KEYWORD_STORE: [(str(held[position].id), score) for position, score in best]}
    wanted = set(find_identifiers(query)) if held else set()
    shares = {str(one.id): len(wanted.intersection(find_identifiers(one.text))) for one in held} if wanted else {}
    if any(shares.values()):
        # A memory that is indexed meanwhile is found on both sides.
        exact = dict(indexed.get(EXACT, ()))
        for memory, count in shares.items():
            if count:
                exact[memory] = max(count / len(wanted), exact.get(memory, 0.0))
        found[EXACT] = sorted(exact.items(), key=lambda hit: -hit[1])
    return found


def _scope_conditions(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of a memory in `scope`, as far as the database can judge: all but its metadata."""
    return _cached_conditions(replace(scope, agent_id="", shared=(), where=()))


@lru_cache(maxsize=128)
def _cached_conditions(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    # Making the conditions takes longer than many a query.
    moment = sa.func.coalesce(memories.c.said_at, memories.c.created_at, type_=memories.c.said_at.type)
    found = belief_conditions(db_time() if scope.as_of is None else scope.as_of)
    if scope.kinds:
        found.append(memories.c.kind.in_(scope.kinds))
    if scope.session is not None:
        found.append(memories.c.session == scope.session)
    if scope.since is not None:
        found.append(moment >= scope.since)
    if scope.until is not None:
        found.append(moment < scope.until)
    return tuple(found)


def _common_piece(term: str) -> str:
    """Return a piece of text so short that every form of the term contains it."""
    if _NUMBER.fullmatch(term):
        return _BEFORE_LAST_GROUP.sub("", term)  # 1234.56 is also written 1,234.56
    return term[:-1] if len(term) >= _SHORTEST_STEM and term[-1] in "iy" else term  # happy has the stem happi


@lru_cache(maxsize=8)
def _not_indexed_in(space: str) -> tuple[sa.ColumnElement[bool], ...]:
    # In the words of the table's indexes, so that the many that are indexed are not read to find the few that are not;
    # and the space in the statement itself, as it is the same in all: with a value not known beforehand the server
    # takes it for a third of the memories, and plans the whole anew each time, which takes longer than it runs.
    waiting = memories.c.state.in_([sa.literal_column(f"'{state}'") for state in ("stored", "embedded", "dead")])
    searchable = memories.c.state == sa.literal_column("'searchable'")
    this = sa.bindparam(None, space, literal_execute=True, type_=memories.c.space.type)
    return waiting, sa.and_(searchable, memories.c.space < this), sa.and_(searchable, memories.c.space > this)
