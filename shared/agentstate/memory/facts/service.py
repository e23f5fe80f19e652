"""Semantic memory: what an agent knows, durable when `remember` returns and searchable soon after.

Remembering writes a row and wakes the embedding workers; it calls no provider and no index, so it is as fast and as
sure as the durable store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agentstate.errors import Conflict, InvalidInput, JobDead, NotFound, TooLarge, WaitTimeout
from agentstate.ids import validate_name
from agentstate.jobs import Jobs
from agentstate.memory.facts import namespaces, records, statements
from agentstate.memory.facts.counts import Watermark, read_watermark
from agentstate.memory.facts.forget import ForgetReceipt, Forgetting
from agentstate.memory.facts.namespaces import Namespaces
from agentstate.memory.facts.records import USUAL_IMPORTANCE, MemoryRecord, MemoryRows, NewMemory, StoredState
from agentstate.memory.facts.texts import check_label, check_text
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.recall import MemoryRecall, Recall
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

if TYPE_CHECKING:
    from agentstate.memory.episodes.recent import RecentEpisodes

EMBED_PENDING = "embedding.embed_pending"

_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of something to remember."""

    id: UUID
    seq: int
    """Grows with every memory that is accepted."""
    state: str
    """`stored` (durable, found by its words), `embedded`, `searchable`, or `dead` (durable, will not be indexed)."""
    created: bool
    """False when this very memory was there already."""
    supersedes: UUID | None = None
    """The statement on the same subject whose place it took."""


class SemanticMemory:
    """The memories of all agents; every call names the agent.

    `recent` gives the episodes in Redis, which are forgotten with an agent; None when there is no Redis.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        index: MemoryIndex,
        embedder: Embedder,
        settings: Settings,
        *,
        recent: Callable[[], RecentEpisodes] | None = None,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._recall = MemoryRecall(store, index, embedder, settings)
        self.namespaces = Namespaces(store)
        """Memories that several agents share."""
        self.forgetting = Forgetting(store, jobs, index, recent)
        """Removal of memories from every store."""

    def remember(
        self,
        agent_id: str,
        content: str,
        *,
        kind: str = "fact",
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        at: datetime | None = None,
        subject: str | None = None,
        importance: int = USUAL_IMPORTANCE,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        namespace: str | None = None,
        tx: Transaction | None = None,
    ) -> Receipt:
        """Keep `content` for `agent_id`; the same content of the same kind is kept once, however often it is given.

        Args:
            agent_id: whose memory it is.
            content: what to remember.
            kind: what sort of thing it is: `fact`, `lesson`, `strategy`, `event`, or a name of yours.
            metadata: anything more, kept beside it and given back with it; of a repeated memory the first stays.
            source: where it comes from.
            at: when it happened; aware.
            subject: what it is a statement about. The newest statement about a subject holds; the older ones are not
                recalled any more but stay as history (`statements`, `believed`).
            importance: from 1 to 10.
            valid_from: since when it holds; left out: since `at`, or since now.
            valid_to: until when it holds, that moment excluded.
            namespace: keep it in this namespace, which several agents share; `agent_id` has to be allowed to write.
            tx: the caller's transaction; the memory exists exactly if that commits.

        Raises:
            InvalidInput: the agent's name, the content or the metadata is refused.
            TooLarge: the content is over `max_text_bytes`, or the metadata over `max_payload_bytes`.
            Conflict: this very statement was superseded since, and no time tells whether it is new or repeated.
            NotFound: the agent may not write into the namespace.
            StoreUnavailable: the durable store does not answer; nothing was kept.
        """
        item = NewMemory(
            agent_id=agent_id,
            content=content,
            kind=kind,
            metadata=metadata,
            source=source,
            at=at,
            subject=subject,
            importance=importance,
            valid_from=valid_from,
            valid_to=valid_to,
            namespace=namespace,
        )
        return self.remember_many([item], tx=tx)[0]

    def store(self, agent_id: str, content: str, metadata: dict[str, Any] | None = None) -> str:
        """Keep `content` and return its id; `remember` tells more."""
        return str(self.remember(agent_id, content, metadata=metadata).id)

    def remember_many(self, items: Iterable[NewMemory], *, tx: Transaction | None = None) -> list[Receipt]:
        """Keep all of `items` or none; one receipt each, in their order. Raises as `remember`."""
        checked = [self._check_item(item) for item in items]
        if not checked:
            return []
        with self._store.transaction(tx) as open_tx:
            for agent_id, namespace in {(item.agent_id, item.namespace) for item in checked if item.namespace}:
                namespaces.allowed_tenants(open_tx.connection, agent_id, [namespace], writing=True)
            created = records.insert_memories(open_tx, checked)
            there = [item.id for item in checked if item.id not in created]
            known = records.read_states(open_tx.connection, there) if there else {}
            _refuse_undated_repeats(checked, known)
            about = [item.id for item in checked if item.subject is not None and item.id in created]
            replaced = statements.order_statements(open_tx, about) if about else {}
            if created:
                self._jobs.wake_bulk(EMBED_PENDING, tx=open_tx)
        return [_make_receipt(item.id, created, known, replaced) for item in checked]

    def recall(self, agent_id: str, query: str, limit: int = 5, **options: Any) -> Recall:
        """The memories of `agent_id` that answer `query`, best first; see `MemoryRecall.recall` for `options`."""
        return self._recall.recall(agent_id, query, limit=limit, **options)

    def get(self, agent_id: str, memory_id: UUID, *, namespaces: Sequence[str] = ()) -> MemoryRecord | None:
        """One memory of `agent_id`, None when there is none."""
        with self._open_rows(agent_id, namespaces) as rows:
            return rows.read_ids([memory_id]).get(memory_id)

    def statements(
        self, agent_id: str, subject: str, *, known_as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> list[MemoryRecord]:
        """The statements about `subject`, by the time since which they hold; stored by `known_as_of`, when given."""
        known = [] if known_as_of is None else [memories.c.created_at <= known_as_of]
        with self._open_rows(agent_id, namespaces) as rows:
            return rows.read_statements(subject, *known)

    def believed(
        self, agent_id: str, subject: str, *, as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> MemoryRecord | None:
        """The statement about `subject` that was held for true at `at` (now when left out), by what was stored then."""
        with self._open_rows(agent_id, namespaces) as rows:
            found = rows.read_statements(
                subject, *statements.belief_conditions(db_time() if as_of is None else _aware(as_of))
            )
        return found[-1] if found else None

    def export(self, agent_id: str, *, namespaces: Sequence[str] = ()) -> Iterator[MemoryRecord]:
        """All memories of `agent_id`, in the order in which they were accepted, a page at a time."""
        after = 0
        while True:
            with self._open_rows(agent_id, namespaces) as rows:
                page = rows.read_page(after=after)
            yield from page
            if not page:
                return
            after = page[-1].seq

    def holding(self, agent_id: str, kinds: Sequence[str]) -> Iterator[MemoryRecord]:
        """The memories of these kinds that hold now, in the order in which they were accepted, a page at a time."""
        conditions = (memories.c.kind.in_(kinds), *statements.belief_conditions(db_time()))
        after: int | None = 0
        while after is not None:
            with self._open_rows(agent_id, ()) as rows:
                page = rows.read_page(*conditions, after=after)
            yield from page
            after = page[-1].seq if page else None

    def watermark(self, agent_id: str) -> Watermark:
        """How far the memories of `agent_id` are searchable."""
        with self._store.read_connection() as connection:
            return read_watermark(connection, validate_name(agent_id))

    def forget(self, agent_id: str, memory_id: UUID, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove one memory from every store and look whether it is gone; see `Forgetting.forget`."""
        return self.forgetting.forget_memory(agent_id, memory_id, namespace=namespace)

    def forget_agent(self, agent_id: str, *, conversations: bool = False) -> ForgetReceipt:
        """Remove all memories and episodes of `agent_id` from every store; see `Forgetting.forget_agent`."""
        return self.forgetting.forget_agent(agent_id, conversations=conversations)

    def wait_searchable(self, receipts: Sequence[Receipt], *, timeout_s: float = 30.0) -> None:
        """Return once all are in the index.

        Raises:
            WaitTimeout: some are not after `timeout_s` seconds; the work goes on.
            JobDead: one of them was given up; `agentstate status` tells why.
        """
        deadline, pause = time.monotonic() + timeout_s, _FIRST_POLL_S
        while waiting := self._not_searchable(receipts):
            if time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(waiting)} memories are not searchable after {timeout_s:g} seconds; they will be."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)

    def _not_searchable(self, receipts: Sequence[Receipt]) -> list[UUID]:
        with self._store.read_connection() as connection:
            found = records.read_states(connection, [receipt.id for receipt in receipts])
        for receipt in receipts:
            if receipt.id not in found:
                raise NotFound(f"memory {receipt.id} is not there any more; it was forgotten.")
            if found[receipt.id].state == "dead":
                raise JobDead(f"memory {receipt.id} was given up and is not in the index; it stays stored.")
        return [receipt.id for receipt in receipts if found[receipt.id].state != "searchable"]

    @contextmanager
    def _open_rows(self, agent_id: str, shared: Sequence[str]) -> Iterator[MemoryRows]:
        with self._store.read_connection() as connection:
            yield MemoryRows(connection, namespaces.allowed_tenants(connection, validate_name(agent_id), shared))

    def _check_item(self, item: NewMemory) -> NewMemory:
        validate_name(item.agent_id)
        check_text(item.content, limit=self._settings.max_text_bytes)
        _check_kind(item.kind)
        check_label(item.source, "source")
        check_label(item.speaker, "speaker")
        if item.session is not None:
            validate_name(item.session, "session")
        _check_times(item)
        check_label(item.subject, "subject")
        if item.importance not in range(1, 11):
            raise InvalidInput(f"the importance is {item.importance!r}; it is 1 to 10. Nothing was stored.")
        self._check_metadata(item.metadata)
        return item

    def _check_metadata(self, metadata: dict[str, Any] | None) -> None:
        if metadata is None:
            return
        if not isinstance(metadata, dict):
            raise InvalidInput(f"metadata is {type(metadata).__name__}, not a dict. Nothing was stored.")
        size, limit = len(codec.dumps(metadata).encode()), self._settings.max_payload_bytes
        if size > limit:
            raise TooLarge(f"the metadata has {size:,} bytes, over the limit of {limit:,}. Nothing was stored.")


def _check_kind(kind: str) -> None:
    validate_name(kind, "kind")
    if len(kind) > 32:  # noqa: PLR2004 the column's width
        raise InvalidInput(f"the kind {kind[:40]!r} has over 32 characters. Nothing was stored.")


def _check_times(item: NewMemory) -> None:
    for moment in (item.at, item.valid_from, item.valid_to):
        if moment is not None:
            _aware(moment)
    if item.valid_to is not None and item.holds_from is not None and item.valid_to <= item.holds_from:
        raise InvalidInput(
            f"what holds from {item.holds_from.isoformat()} cannot end at {item.valid_to.isoformat()}. "
            "Nothing was stored."
        )


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(f"the time {moment.isoformat()} has no time zone; give UTC. Nothing was stored.")
    return moment


def _refuse_undated_repeats(items: Sequence[NewMemory], known: Mapping[UUID, StoredState]) -> None:
    """Refuse what was superseded and comes again without a time: repeated by mistake or true again, who can tell?"""
    given = {item.id for item in items}
    for item in items:
        newer = known[item.id].superseded_by if item.id in known else None
        if newer is not None and newer not in given and item.holds_from is None:
            raise Conflict(
                f"this statement about {item.subject!r} was superseded by {newer}. If it holds again, give the time "
                "since when (`at`); if this is a retry, nothing is to be done. Nothing was stored."
            )


def _make_receipt(
    memory: UUID, created: Mapping[UUID, int], known: Mapping[UUID, StoredState], replaced: Mapping[UUID, UUID]
) -> Receipt:
    if memory in created:
        seq, state = created[memory], "stored"
        return Receipt(id=memory, seq=seq, state=state, created=True, supersedes=replaced.get(memory))
    return Receipt(id=memory, seq=known[memory].seq, state=known[memory].state, created=False)
