"""Search in the durable store itself: for memories that the index lacks as yet, and for all when it does not answer.

The database picks the newest memories that hold any word of the query; they are ranked here as the index would rank
them. It is slower than the index and needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa

from agentstate.memory.facts.records import MemoryRecord, MemoryRows
from agentstate.memory.facts.statements import belief_conditions
from agentstate.memory.search import bm25
from agentstate.memory.search.fusion import EXACT, KEYWORD_STORE, Found
from agentstate.memory.search.identifiers import find_identifiers
from agentstate.memory.search.scope import Scope
from agentstate.memory.search.tags import meets_where
from agentstate.memory.search.words import split_terms
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

STORE_DEPTH = 2_000
"""Memories ranked at most, the newest that hold any word of the query."""
MAX_WORDS = 32
"""Words of the query that are looked for at most, the longest."""

_NUMBER = re.compile(r"\d+(\.\d+)?")
_BEFORE_LAST_GROUP = re.compile(r"\A\d+(?=\d{3}(\.|\Z))")


def read_and_search(
    rows: MemoryRows, scope: Scope, query: str, ids: Sequence[UUID], *, beside: str | None
) -> tuple[list[MemoryRecord], list[MemoryRecord]]:
    """Those of `ids` that are there and in `scope`, and in the same journey what the words of `query` find.

    Args:
        rows: whose memories.
        scope: which of them.
        query: the question.
        ids: memories that the index found.
        beside: the vector space whose index answered: only memories that it lacks are looked for; None: all.
    """
    words = _wanted(query)
    if not words:
        return read_in_scope(rows, scope, ids), []
    lacking = (sa.true(),) if beside is None else _not_indexed_in(beside)
    there, held = rows.read_and_find(ids, words, *lacking, both=scope_conditions(scope), limit=STORE_DEPTH)
    return _meeting(there, scope), _meeting(held, scope)


def read_in_scope(rows: MemoryRows, scope: Scope, ids: Sequence[UUID]) -> list[MemoryRecord]:
    """Those of `ids` that are there and in `scope`."""
    return _meeting(rows.read_ids(ids, *scope_conditions(scope)).values(), scope) if ids else []


def rank_held(held: Sequence[MemoryRecord], query: str, indexed: Mapping[str, Found]) -> dict[str, Found]:
    """Add to what the index found, by retriever, the memories that the store holds, ranked by words and identifiers."""
    best = bm25.rank_texts(query, [one.text for one in held])
    found = {**indexed, KEYWORD_STORE: [(str(held[position].id), score) for position, score in best]}
    exact = _exact(held, query)
    if exact:
        found[EXACT] = sorted([*indexed.get(EXACT, ()), *exact], key=lambda hit: -hit[1])
    return found


def scope_conditions(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    """What a memory must meet to be in `scope`, as far as the database can tell: all but its metadata."""
    return _conditions(replace(scope, agent_id="", shared=(), where=()))


@lru_cache(maxsize=128)
def _conditions(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    # Kept, since making them takes longer than many a query.
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


def _meeting(found: Iterable[MemoryRecord], scope: Scope) -> list[MemoryRecord]:
    return [one for one in found if meets_where(one.metadata, scope.where)]


def _exact(held: Sequence[MemoryRecord], query: str) -> Found:
    wanted = set(find_identifiers(query))
    shares = ((one.id, len(wanted.intersection(find_identifiers(one.text)))) for one in held) if wanted else ()
    return [(str(memory), count / len(wanted)) for memory, count in shares if count]


def _wanted(query: str) -> list[str]:
    """Pieces of text to look for in the store, so short that every form of the query's words holds one."""
    return [_piece(term) for term in sorted(set(split_terms(query)), key=len, reverse=True)[:MAX_WORDS]]


def _piece(term: str) -> str:
    if _NUMBER.fullmatch(term):
        return _BEFORE_LAST_GROUP.sub("", term)  # 1234.56 is also written 1,234.56
    return term[:-1] if len(term) > 3 and term[-1] in "iy" else term  # noqa: PLR2004 happy has the stem happi


@lru_cache(maxsize=8)
def _not_indexed_in(space: str) -> tuple[sa.ColumnElement[bool], ...]:
    # In the words of the table's indexes, so that the many that are indexed are not read to find the few that are not;
    # and the space in the statement itself, as it is the same in all: with a value not known beforehand the server
    # takes it for a third of the memories, and plans the whole anew each time, which takes longer than it runs.
    waiting = memories.c.state.in_([sa.literal_column(f"'{state}'") for state in ("stored", "embedded", "dead")])
    searchable = memories.c.state == sa.literal_column("'searchable'")
    this = sa.bindparam(None, space, literal_execute=True, type_=memories.c.space.type)
    return waiting, sa.and_(searchable, memories.c.space < this), sa.and_(searchable, memories.c.space > this)
