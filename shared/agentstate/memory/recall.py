"""Recall: the memories that answer a question, found by meaning and by words, and read from the durable store.

Three arms look: vectors and words in the index, and words in the store for memories that the index lacks as yet. One
that fails is left out and named, so that an agent gets an answer and knows what it is worth.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import IndexUnavailable, InvalidInput, ProviderError, TooLarge
from agentstate.ids import checked_name
from agentstate.memory import bm25, records
from agentstate.memory.fusion import DENSE, KEYWORD_STORE, ArmScore, Fused, fuse
from agentstate.memory.index import Found, MemoryIndex, Scope
from agentstate.memory.namespaces import tenants
from agentstate.memory.records import MemoryRows
from agentstate.memory.statements import believed
from agentstate.memory.words import terms
from agentstate.providers.embedder import Embedder
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

MAX_LIMIT = 1_000
DEPTH = 50
"""What each arm is asked for at least; fusion needs more than it gives."""
STORE_DEPTH = 2_000
"""Memories that the store arm ranks at most, the newest that hold any word of the query."""
MAX_WORDS = 32
"""Words of the query that the store arm looks for at most, the longest."""

_NUMBER = re.compile(r"\d+(\.\d+)?")
_BEFORE_LAST_GROUP = re.compile(r"\A\d+(?=\d{3}(\.|\Z))")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A memory that answers, as the durable store has it."""

    id: UUID
    content: str
    score: float
    """From 0 to 1, comparable between queries."""
    kind: str
    at: datetime | None
    """When it happened or was said."""
    source: str | None
    metadata: dict[str, Any]
    speaker: str | None
    session: str | None
    turn: int | None
    state: str
    arms: dict[str, ArmScore]
    """What each arm that found it said."""


class Recall(list[Hit]):
    """Hits, best first, and how they were found."""

    def __init__(self, hits: Iterable[Hit] = (), *, arms: Sequence[str] = (), degraded: str | None = None) -> None:
        super().__init__(hits)
        self.arms = tuple(arms)
        """The arms that answered: `dense`, `keyword`, `keyword_store`."""
        self.degraded = degraded
        """What was left out and why, None when nothing was."""


class MemoryRecall:
    """Search in the memories of one agent at a time."""

    def __init__(self, store: Store, index: MemoryIndex, embedder: Embedder, settings: Settings) -> None:
        self._store = store
        self._index = index
        self._embedder = embedder
        self._settings = settings

    def recall(
        self,
        agent_id: str,
        query: str,
        limit: int = 5,
        *,
        kind: str | None = None,
        session: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        namespaces: Sequence[str] = (),
    ) -> Recall:
        """The memories of `agent_id` that answer `query`, best first. An empty query, and one without match, give none.

        Args:
            agent_id: whose memories.
            query: a question or some words.
            limit: hits at most, up to 1,000.
            kind: only of this kind.
            session: only from this session.
            since: only what happened (or, without a time, was stored) at or after this moment.
            until: ... and before this one.
            as_of: what was held for true at this moment, by what was stored then; left out: what is held for true now.
            namespaces: also from these, which several agents share.

        Raises:
            InvalidInput: the agent's name or the limit is refused; TooLarge: the query is.
            NotFound: the agent has no part in one of the namespaces.
            StoreUnavailable: the durable store does not answer.
        """
        scope = Scope(
            agent_id=checked_name(agent_id),
            kind=kind,
            session=session,
            since=since,
            until=until,
            as_of=as_of,
            shared=self._shared(agent_id, namespaces),
        )
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(f"limit is {limit}; it must be 1 to {MAX_LIMIT}.")
        self._check_size(query)
        if not query.strip():
            return Recall()
        return self._recall(scope, query, limit)

    def _recall(self, scope: Scope, query: str, limit: int) -> Recall:
        vector, no_vector = self._embed(query)
        indexed, no_index = self._from_index(scope, query, vector, limit)
        with self._store.reading() as connection:
            rows = MemoryRows(connection, scope.tenants)
            fresh = self._from_store(rows, scope, query, index_answered=no_index is None)
            found = {**indexed, KEYWORD_STORE: fresh}
            best = fuse(found, semantic=DENSE in indexed)
            # What the index has not heard of yet, the durable store knows: superseded or forgotten since.
            there = rows.read([item.id for item in best[: 2 * limit]], *_conditions(scope)) if best else {}
        hits = [_hit(item, there[item.id]) for item in best if item.id in there][:limit]
        return Recall(hits, arms=tuple(found), degraded="; ".join(filter(None, (no_vector, no_index))) or None)

    def _shared(self, agent_id: str, namespaces: Sequence[str]) -> tuple[str, ...]:
        if not namespaces:
            return ()
        with self._store.reading() as connection:
            return tenants(connection, agent_id, namespaces)[1:]

    def _embed(self, query: str) -> tuple[list[float] | None, str | None]:
        if not self._embedder.semantic:
            return None, None
        try:
            vector: list[float] = self._embedder.embed_query(query).tolist()
        except ProviderError as error:
            _log.warning("recall goes by words alone: the query was not embedded: %s", error)
            return None, f"searched by words alone: {error}"
        return vector, None

    def _from_index(
        self, scope: Scope, query: str, vector: list[float] | None, limit: int
    ) -> tuple[dict[str, Found], str | None]:
        depth = max(DEPTH, 2 * limit)
        try:
            return self._index.search(scope, text=query, vector=vector, limit=depth), None
        except IndexUnavailable as error:
            _log.warning("recall goes by the durable store alone: %s", error)
            return {}, f"searched by words in the durable store alone: {error}"

    def _from_store(self, rows: MemoryRows, scope: Scope, query: str, *, index_answered: bool) -> Found:
        """What the index cannot know as yet; everything when it did not answer."""
        words = _wanted(query)
        if not words:
            return []
        conditions = _conditions(scope)
        if index_answered:
            conditions.append(~_indexed_in(self._index.collection))
        held = rows.holding_any(words, conditions=conditions, limit=STORE_DEPTH)
        return [(held[position].id, score) for position, score in bm25.rank(query, [one.text for one in held])]

    def _check_size(self, query: str) -> None:
        size, limit = len(query.encode(errors="replace")), self._settings.max_text_bytes
        if size > limit:
            raise TooLarge(f"the query has {size:,} bytes, over the limit of {limit:,}.")


class HybridMemory:
    """Search by meaning and words together, under the name that has become usual for it."""

    def __init__(self, recall: MemoryRecall) -> None:
        self._recall = recall

    def search(self, agent_id: str, query: str, top_k: int = 5) -> Recall:
        """See `MemoryRecall.recall`."""
        return self._recall.recall(agent_id, query, limit=top_k)


def _wanted(query: str) -> list[str]:
    """Pieces of text to look for in the store, so short that every form of the query's words holds one."""
    return [_piece(term) for term in sorted(set(terms(query)), key=len, reverse=True)[:MAX_WORDS]]


def _piece(term: str) -> str:
    if _NUMBER.fullmatch(term):
        return _BEFORE_LAST_GROUP.sub("", term)  # 1234.56 is also written 1,234.56
    return term[:-1] if len(term) > 3 and term[-1] in "iy" else term  # noqa: PLR2004 happy has the stem happi


def _conditions(scope: Scope) -> list[sa.ColumnElement[bool]]:
    moment = sa.func.coalesce(memories.c.said_at, memories.c.created_at, type_=memories.c.said_at.type)
    conditions = believed(db_time() if scope.as_of is None else scope.as_of)
    if scope.kind is not None:
        conditions.append(memories.c.kind == scope.kind)
    if scope.session is not None:
        conditions.append(memories.c.session == scope.session)
    if scope.since is not None:
        conditions.append(moment >= scope.since)
    if scope.until is not None:
        conditions.append(moment < scope.until)
    return conditions


def _indexed_in(collection: str) -> sa.ColumnElement[bool]:
    return sa.and_(memories.c.state == "searchable", memories.c.space == collection)


def _hit(item: Fused, record: records.MemoryRecord) -> Hit:
    return Hit(
        id=item.id,
        content=record.content,
        score=item.score,
        kind=record.kind,
        at=record.at,
        source=record.source,
        metadata=record.metadata or {},
        speaker=record.speaker,
        session=record.session,
        turn=record.turn,
        state=record.state,
        arms=item.arms,
    )
