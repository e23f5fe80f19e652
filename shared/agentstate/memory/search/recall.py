"""Recall: the memories that answer a question, found by meaning, words and identifiers, read from the durable store.

There are four retrievers: vectors, words and identifiers in the index, and words in the store for memories that the
index lacks as yet, or for all when it does not answer. Of these the database picks the newest that contain a word of
the query, and they are ranked here as the index would rank them: slower, and without an index. A retriever that fails
is left out and named, so that an agent gets an answer and knows what it is worth.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa

from agentstate.clock import Clock, utc_now
from agentstate.errors import IndexUnavailable, InvalidInput, ProviderError
from agentstate.ids import shorten_repr
from agentstate.memory.facts.namespaces import allowed_tenants
from agentstate.memory.facts.records import MemoryRecord, MemoryRows
from agentstate.memory.facts.statements import belief_conditions
from agentstate.memory.facts.texts import check_text, check_whole
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.queries import Answer
from agentstate.memory.search.filters import Scope, meets_where
from agentstate.memory.search.fusion import DENSE, EXACT, KEYWORD_STORE, Found, fuse_scores
from agentstate.memory.search.hits import Hit, Recall, Why
from agentstate.memory.search.identifiers import find_identifiers, may_answer
from agentstate.memory.search.terms import has_words, rank_texts, weigh_query
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

MAX_LIMIT = 1_000
MAX_NEIGHBOURS = 20
DEPTH = 100
"""Asked of each retriever at least; fusion needs more than it gives (R@10 on LoCoMo .765 with 50, .771 with 200)."""

STORE_DEPTH = 2_000
"""Memories ranked at most, the newest that contain a word of the query."""
MAX_WORDS = 32
"""Words of the query that are looked for at most, the longest."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
_BEFORE_LAST_GROUP = re.compile(r"\A\d+(?=\d{3}(\.|\Z))")
_SHORTEST_STEM = 4

_log = logging.getLogger(__name__)


class MemoryRecall:
    """Search in the memories of one agent at a time. Safe to share between threads."""

    def __init__(
        self, store: Store, index: MemoryIndex, embedder: Embedder, settings: Settings, *, clock: Clock = utc_now
    ) -> None:
        self._store = store
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self._clock = clock

    def recall(
        self,
        scope: Scope,
        query: str,
        limit: int,
        *,
        half_life: timedelta | None = None,
        neighbours: int = 0,
        namespaces: Sequence[str] = (),
    ) -> Recall:
        """Return the memories in `scope` that answer `query`, best first; see `AgentMemory.recall`."""
        self._check_request(query, limit, half_life, neighbours)
        if not has_words(query):
            return Recall()

        # Read what the index lacks before asking it: a memory that is indexed meanwhile is found on one side at least.
        with self._store.read_connection(autocommit=True) as connection:
            scope = replace(scope, shared=allowed_tenants(connection, scope.agent_id, namespaces)[1:])
            held = find_in_store(MemoryRows(connection, scope.tenants), scope, query, beside=self._index.space)

        # Query the index; when it does not answer, the store is searched for all memories.
        answer, left_out = self._query_index(scope, query, max(DEPTH, 2 * limit))
        with self._store.read_connection(autocommit=True) as connection:
            rows = MemoryRows(connection, scope.tenants)
            if answer.space is None:
                held = find_in_store(rows, scope, query, beside=None)

            # Fuse, and fetch the rows of some more than are wanted: the durable store knows what the index has not
            # heard of yet, such as that a memory was superseded or forgotten. With a half-life any may be the first.
            found = add_ranked(answer.found, held, query)
            # A memory that lacks an identifier of the query is no answer, however alike its words are.
            named = find_identifiers(query)
            wanted = None if half_life or named else 2 * limit
            fused = fuse_scores(found, semantic=DENSE in found, places=answer.places, limit=wanted)
            records = {one.id: one for one in read_in_scope(rows, scope, [UUID(item.id) for item in fused])}

            hits = []
            for item in fused:
                record = records.get(UUID(item.id))
                if record is not None and may_answer(named, record.text, inherits=EXACT in item.retrievers):
                    age = max(self._clock() - (record.at or record.created_at), timedelta())
                    freshness = 1.0 if half_life is None else float(2.0 ** -(age / half_life))
                    why = Why(retrievers=item.retrievers, own=item.own, freshness=freshness)
                    hits.append(Hit(record=record, score=item.score * freshness, why=why))
            hits = sorted(hits, key=lambda hit: -hit.score)[:limit]

            if neighbours:
                places = {(hit.record.agent_id, hit.session, hit.turn) for hit in hits if hit.session and hit.turn}
                around = rows.read_neighbours(places, neighbours)
                hits = [_add_neighbours(hit, around, neighbours) for hit in hits]
        return Recall(hits, retrievers=tuple(found), degraded="; ".join(left_out) or None)

    def _query_index(self, scope: Scope, query: str, depth: int) -> tuple[Answer, list[str]]:
        """Search by words while the query is embedded, then by its vector; return also the reasons of omissions."""
        vectors: list[list[float]] = []
        left_out: list[str] = []

        def embed_query() -> None:
            if not self._embedder.semantic:
                return
            try:
                vectors.append(self._embedder.embed_query(query).tolist())
            except ProviderError as error:
                _log.warning("query embedding failed, keyword search only: %s", error)
                left_out.append(f"searched by words alone: {error}")

        try:
            answer = self._index.search(scope, text=query, vector=None, limit=depth, meanwhile=embed_query)
            if vectors:
                by_meaning = self._index.search(scope, text="", vector=vectors[0], limit=depth)
                answer = by_meaning.merge_with(answer)
        except IndexUnavailable as error:
            _log.warning("index search failed, searching the durable store alone: %s", error)
            return Answer({}), [*left_out, f"searched by words in the durable store alone: {error}"]
        return answer, left_out

    def _check_request(self, query: str, limit: int, half_life: timedelta | None, neighbours: int) -> None:
        check_whole(limit, "limit", most=MAX_LIMIT)
        check_whole(neighbours, "neighbours", least=0, most=MAX_NEIGHBOURS)
        given: object = half_life
        if given is not None and not (isinstance(given, timedelta) and given > timedelta()):
            raise InvalidInput(f"half_life is {shorten_repr(given)}; give a timedelta longer than nothing.")
        check_text(query, limit=self._settings.max_text_bytes, what="query", may_be_blank=True)


def _add_neighbours(hit: Hit, around: Mapping[tuple[str, str, int], MemoryRecord], reach: int) -> Hit:
    """Return the hit with the turns up to `reach` before and after it, in order."""
    agent_id, session, turn = hit.record.agent_id, hit.session, hit.turn
    if session is None or turn is None:
        return hit
    before = [around.get((agent_id, session, number)) for number in range(turn - reach, turn)]
    after = [around.get((agent_id, session, number)) for number in range(turn + 1, turn + reach + 1)]
    return replace(
        hit,
        before=tuple(one for one in before if one is not None),
        after=tuple(one for one in after if one is not None),
    )


def find_in_store(rows: MemoryRows, scope: Scope, query: str, *, beside: str | None) -> list[MemoryRecord]:
    """Return the newest memories in `scope` that contain a word of `query`.

    Args:
        rows: the memories of the scope's tenants.
        scope: the memories that may be seen.
        query: the question.
        beside: only memories that the index of this vector space lacks; None: all.
    """
    words = sorted(weigh_query(query), key=len, reverse=True)[:MAX_WORDS]
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
