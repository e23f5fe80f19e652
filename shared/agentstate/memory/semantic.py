"""Semantic memory: what an agent knows, durable when `remember` returns and searchable soon after.

Remembering writes a row and wakes the embedding workers; it calls no provider and no index, so it is as fast and as
sure as the durable store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentstate.errors import InvalidInput, JobDead, TooLarge, WaitTimeout
from agentstate.ids import checked_name
from agentstate.jobs import Jobs
from agentstate.memory import records
from agentstate.memory.index import MemoryIndex
from agentstate.memory.recall import MemoryRecall, Recall
from agentstate.memory.records import MemoryRecord, NewMemory
from agentstate.memory.texts import checked_label, checked_text
from agentstate.providers.embedder import Embedder
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store, Transaction

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


class SemanticMemory:
    """The memories of all agents; every call names the agent."""

    def __init__(self, store: Store, jobs: Jobs, index: MemoryIndex, embedder: Embedder, settings: Settings) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._recall = MemoryRecall(store, index, embedder, settings)

    def remember(
        self,
        agent_id: str,
        content: str,
        *,
        kind: str = "fact",
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        at: datetime | None = None,
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
            tx: the caller's transaction; the memory exists exactly if that commits.

        Raises:
            InvalidInput: the agent's name, the content or the metadata is refused.
            TooLarge: the content is over `max_text_bytes`, or the metadata over `max_payload_bytes`.
            StoreUnavailable: the durable store does not answer; nothing was kept.
        """
        item = NewMemory(agent_id=agent_id, content=content, kind=kind, metadata=metadata, source=source, at=at)
        return self.remember_many([item], tx=tx)[0]

    def store(self, agent_id: str, content: str, metadata: dict[str, Any] | None = None) -> str:
        """Keep `content` and return its id; `remember` tells more."""
        return str(self.remember(agent_id, content, metadata=metadata).id)

    def remember_many(self, items: Iterable[NewMemory], *, tx: Transaction | None = None) -> list[Receipt]:
        """Keep all of `items` or none; one receipt each, in their order. Raises as `remember`."""
        checked = [self._checked(item) for item in items]
        if not checked:
            return []
        with self._store.transaction(tx) as open_tx:
            created = records.insert(open_tx, checked)
            there = [item.id for item in checked if item.id not in created]
            known = records.states(open_tx.connection, there) if there else {}
            if created:
                self._jobs.wake_bulk(EMBED_PENDING, tx=open_tx)
        return [_receipt(item.id, created, known) for item in checked]

    def recall(self, agent_id: str, query: str, top_k: int = 5, **options: Any) -> Recall:
        """The memories of `agent_id` that answer `query`, best first; see `MemoryRecall.recall` for `options`."""
        return self._recall.recall(agent_id, query, limit=top_k, **options)

    def get(self, agent_id: str, memory_id: UUID) -> MemoryRecord | None:
        """One memory of `agent_id`, None when there is none."""
        with self._store.reading() as connection:
            return records.read(connection, agent_id, [memory_id]).get(memory_id)

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
        with self._store.reading() as connection:
            states = records.states(connection, [receipt.id for receipt in receipts])
        dead = [memory for memory, (_, state) in states.items() if state == "dead"]
        if dead:
            raise JobDead(f"memory {dead[0]} was given up and is not in the index; it stays stored.")
        searchable = {memory for memory, (_, state) in states.items() if state == "searchable"}
        return [receipt.id for receipt in receipts if receipt.id not in searchable]

    def _checked(self, item: NewMemory) -> NewMemory:
        checked_name(item.agent_id)
        checked_text(item.content, limit=self._settings.max_text_bytes)
        _checked_kind(item.kind)
        checked_label(item.source, "source")
        checked_label(item.speaker, "speaker")
        if item.session is not None:
            checked_name(item.session, "session")
        if item.at is not None and item.at.tzinfo is None:
            raise InvalidInput(f"the time {item.at.isoformat()} has no time zone; give UTC. Nothing was stored.")
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


def _checked_kind(kind: str) -> None:
    checked_name(kind, "kind")
    if len(kind) > 32:  # noqa: PLR2004 the column's width
        raise InvalidInput(f"the kind {kind[:40]!r} has over 32 characters. Nothing was stored.")


def _receipt(memory: UUID, created: dict[UUID, int], known: dict[UUID, tuple[int, str]]) -> Receipt:
    if memory in created:
        return Receipt(id=memory, seq=created[memory], state="stored", created=True)
    seq, state = known[memory]
    return Receipt(id=memory, seq=seq, state=state, created=False)
