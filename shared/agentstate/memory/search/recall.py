"""Recall: the memories that answer a question, found by meaning, words and identifiers, read from the durable store.

There are four retrievers: vectors, words and identifiers in the index, and words in the store for memories that the
index lacks as yet. One that fails is left out and named, so that an agent gets an answer and knows what it is worth.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from agentstate.clock import Clock, utc_now
from agentstate.errors import IndexUnavailable, InvalidInput, ProviderError, TooLarge
from agentstate.ids import validate_name
from agentstate.memory.facts.namespaces import allowed_tenants
from agentstate.memory.facts.records import MemoryRecord, MemoryRows
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.queries import Answer
from agentstate.memory.search import tags
from agentstate.memory.search.fusion import DENSE, Fused, fuse_scores
from agentstate.memory.search.hits import Hit, Recall, make_hit
from agentstate.memory.search.scope import Scope
from agentstate.memory.search.store_search import rank_held, read_and_search, read_in_scope
from agentstate.memory.search.words import has_words
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.store.store import Store

__all__ = ["Hit", "HybridMemory", "MemoryRecall", "Recall"]

MAX_LIMIT = 1_000
MAX_NEIGHBOURS = 20
DEPTH = 100
"""Asked of each retriever at least; fusion needs more than it gives (R@10 on LoCoMo .765 with 50, .771 with 200)."""

_log = logging.getLogger(__name__)


class MemoryRecall:
    """Search in the memories of one agent at a time."""

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
        agent_id: str,
        query: str,
        limit: int = 5,
        *,
        kind: str | Collection[str] | None = None,
        session: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        where: Mapping[str, Any] | None = None,
        half_life: timedelta | None = None,
        neighbours: int = 0,
        namespaces: Sequence[str] = (),
    ) -> Recall:
        """The memories of `agent_id` that answer `query`, best first. An empty query, and one without match, give none.

        Args:
            agent_id: whose memories.
            query: a question or some words.
            limit: hits at most, up to 1,000.
            kind: only of this kind, or of any of these.
            session: only from this session.
            since: only what happened (or, without a time, was stored) at or after this moment.
            until: ... and before this one.
            as_of: what was held for true at this moment, by what was stored then; left out: what is held for true now.
            where: only with this metadata, such as `{"asset": "USDC"}`; of a list of values any.
            half_life: let a memory of this age count half as much; left out, age does not matter.
            neighbours: give each turn with as many turns before and after it (`Hit.before`, `Hit.after`), up to 20.
            namespaces: also from these, which several agents share.

        Raises:
            InvalidInput: the agent's name, the limit or a filter is refused; TooLarge: the query is.
            NotFound: the agent has no part in one of the namespaces.
            StoreUnavailable: the durable store does not answer.
        """
        scope = Scope(
            agent_id=validate_name(agent_id),
            kinds=_kinds(kind),
            session=session,
            since=_aware(since, "since"),
            until=_aware(until, "until"),
            as_of=_aware(as_of, "as_of"),
            where=tags.parse_where(where),
            shared=self._shared(agent_id, namespaces),
        )
        _check_numbers(limit, neighbours, half_life)
        self._check_size(query)
        if not has_words(query):
            return Recall()
        return self._recall(scope, query, limit, half_life, neighbours)

    def _recall(self, scope: Scope, query: str, limit: int, half_life: timedelta | None, neighbours: int) -> Recall:
        answer, no_vector, no_index = self._from_index(scope, query, max(DEPTH, 2 * limit))
        # With a half-life any of them may be the first.
        most = None if half_life else limit
        with self._store.read_connection(autocommit=True) as connection:
            rows = MemoryRows(connection, scope.tenants)
            found, known = self._found(rows, scope, query, answer, most)
            best = self._aged(known, half_life)[:limit]
            around = rows.read_neighbours({_place(record) for _, record, _ in best}, neighbours) if neighbours else {}
        hits = [
            make_hit(item, record, left, _beside(record, around, -neighbours), _beside(record, around, neighbours))
            for item, record, left in best
        ]
        return Recall(hits, retrievers=found, degraded="; ".join(filter(None, (no_vector, no_index))) or None)

    def _found(
        self, rows: MemoryRows, scope: Scope, query: str, answer: Answer, most: int | None
    ) -> tuple[tuple[str, ...], list[tuple[Fused, MemoryRecord]]]:
        """The retrievers that answered, and the best that they found together, as the durable store has them."""
        # Some more than are wanted: what the index has not heard of yet, the durable store knows, such as that a memory
        # was superseded or forgotten.
        more = None if most is None else 2 * most
        fusing = partial(fuse_scores, semantic=DENSE in answer.found, places=answer.places, limit=more)
        chosen = fusing(answer.found)
        first = chosen[:most]
        there, held = read_and_search(rows, scope, query, _ids(first), beside=answer.space)
        retrievers = rank_held(held, query, answer.found)
        records = {str(record.id): record for record in (*there, *held)}
        if held:
            chosen = fusing(retrievers)
        if held or len(there) < len(first):
            asked = {item.id for item in first}
            others = [item for item in chosen if item.id not in records and item.id not in asked]
            records |= {str(record.id): record for record in read_in_scope(rows, scope, _ids(others))}
        return tuple(retrievers), [(item, records[item.id]) for item in chosen if item.id in records]

    def _aged(
        self, found: Sequence[tuple[Fused, MemoryRecord]], half_life: timedelta | None
    ) -> list[tuple[Fused, MemoryRecord, float]]:
        """With the share of the score that age leaves, best first."""
        aged = [(item, record, self._freshness(record, half_life)) for item, record in found]
        return sorted(aged, key=lambda one: -one[0].score * one[2]) if half_life else aged

    def _freshness(self, record: MemoryRecord, half_life: timedelta | None) -> float:
        if half_life is None:
            return 1.0
        age = max(self._clock() - (record.at or record.created_at), timedelta())
        return float(2.0 ** -(age / half_life))

    def _shared(self, agent_id: str, namespaces: Sequence[str]) -> tuple[str, ...]:
        if not namespaces:
            return ()
        with self._store.read_connection() as connection:
            return allowed_tenants(connection, agent_id, namespaces)[1:]

    def _embed(self, query: str) -> tuple[list[float] | None, str | None]:
        """The query's vector, and when it should have one and has none, why."""
        if not self._embedder.semantic:
            return None, None
        try:
            vector: list[float] = self._embedder.embed_query(query).tolist()
        except ProviderError as error:
            _log.warning("recall goes by words alone: the query was not embedded: %s", error)
            return None, f"searched by words alone: {error}"
        return vector, None

    def _from_index(self, scope: Scope, query: str, depth: int) -> tuple[Answer, str | None, str | None]:
        """What the index has, by words while the query is embedded and then by its vector; and what was left out."""
        search = partial(self._index.search, scope, limit=depth)
        embedded: list[tuple[list[float] | None, str | None]] = []
        try:
            answer = search(text=query, vector=None, meanwhile=lambda: embedded.append(self._embed(query)))
            vector, no_vector = embedded[0]
            if vector is not None:
                answer = search(text="", vector=vector).merge_with(answer)
        except IndexUnavailable as error:
            _log.warning("recall goes by the durable store alone: %s", error)
            no_vector = embedded[0][1] if embedded else None
            return Answer({}), no_vector, f"searched by words in the durable store alone: {error}"
        return answer, no_vector, None

    def _check_size(self, query: str) -> None:
        size, limit = len(query.encode(errors="replace")), self._settings.max_text_bytes
        if size > limit:
            raise TooLarge(f"the query has {size:,} bytes, over the limit of {limit:,}.")


class HybridMemory:
    """Search by meaning and words together, under the name that has become usual for it."""

    def __init__(self, recall: MemoryRecall) -> None:
        self._recall = recall

    def search(self, agent_id: str, query: str, top_k: int = 5, **options: Any) -> Recall:
        """See `MemoryRecall.recall`."""
        return self._recall.recall(agent_id, query, limit=top_k, **options)


def _ids(found: Sequence[Fused]) -> list[UUID]:
    return [UUID(item.id) for item in found]


def _kinds(kind: str | Collection[str] | None) -> tuple[str, ...]:
    if kind is None:
        return ()
    return tuple(validate_name(one, "kind") for one in ([kind] if isinstance(kind, str) else kind))


def _aware(moment: datetime | None, what: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput(f"{what} is {moment.isoformat()} without a time zone; give UTC.")
    return moment


def _check_numbers(limit: int, neighbours: int, half_life: timedelta | None) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"limit is {limit}; it must be 1 to {MAX_LIMIT}.")
    if not 0 <= neighbours <= MAX_NEIGHBOURS:
        raise InvalidInput(f"neighbours is {neighbours}; it must be 0 to {MAX_NEIGHBOURS}.")
    if half_life is not None and half_life <= timedelta():
        raise InvalidInput(f"half_life is {half_life}; it must be longer than nothing.")


def _place(record: MemoryRecord) -> tuple[str, str, int]:
    # A memory that is no turn has no neighbours; number -1000 has none either.
    return record.agent_id, record.session or "", -1_000 if record.turn is None else record.turn


def _beside(
    record: MemoryRecord, around: Mapping[tuple[str, str, int], MemoryRecord], reach: int
) -> list[MemoryRecord]:
    """The turns up to `reach` after a record, before it when negative, in order."""
    if record.turn is None or record.session is None:
        return []
    numbers = range(record.turn + reach, record.turn) if reach < 0 else range(record.turn + 1, record.turn + reach + 1)
    keys = [(record.agent_id, record.session, number) for number in numbers]
    return [around[key] for key in keys if key in around]
