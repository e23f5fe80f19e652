"""Back-fill by a provider's batch API: the texts without a vector are submitted, and the vectors stored when they come.

Every step is a row before it is a request: a batch that was submitted is looked up under its own id before it is
submitted again, and one that has ended is applied once. So this can be killed and run again at any moment. Texts that
the batch leaves out are embedded directly afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import ProviderRefused
from agentstate.ids import new_id
from agentstate.memory.embedding.embed_texts import MemoryEmbedder, text_sha
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.facts.records import RECORD_COLUMNS, MemoryRecord
from agentstate.providers.embedding.openai_batches import MOST_TEXTS, BatchState
from agentstate.store.store import Store
from agentstate.store.tables import embedding_batch_items, embedding_batches, memories
from agentstate.store.tables.base import db_time

POLL_S = 30.0
PAGE = 1_000

Say = Callable[[str], None]


class BatchProvider(Protocol):
    """A provider that takes texts now and returns their vectors later; see `OpenAIBatches`."""

    def submit_batch(self, our_id: str, texts: dict[str, str]) -> BatchState:
        """Submit texts by key, once for `our_id`."""
        ...

    def fetch_batch(self, batch_id: str) -> BatchState:
        """Return the state of a batch."""
        ...

    def fetch_vectors(self, batch: BatchState) -> Iterator[tuple[str, bytes]]:
        """Yield (key, vector) of the texts that were embedded."""
        ...


class Backfill:
    """Makes the vectors that memories lack in one space, by batches of a provider."""

    def __init__(
        self,
        store: Store,
        embedder: MemoryEmbedder,
        provider: BatchProvider,
        space: str,
        *,
        most_texts: int = MOST_TEXTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._backlog = EmbeddingBacklog(store)
        self._embedder = embedder
        self._provider = provider
        self._space = space
        self._most = most_texts
        self._pause = pause

    def run_batches(self, say: Say = lambda _text: None) -> int:
        """Submit the texts without a vector, wait, and store the vectors; return how many came.

        Raises:
            ProviderError: the provider takes no batch, or one failed; run it again to go on.
        """
        self._plan_batches()
        came = 0
        while open_batches := self._read_open():
            for batch_id, provider_id in open_batches:
                state = self._provider.fetch_batch(provider_id) if provider_id else self._submit_batch(batch_id)
                say(f"batch {state.id} is {state.status}")
                if state.is_ended:
                    came += self._apply_batch(batch_id, state)
            if self._read_open():
                self._pause(POLL_S)
        return came

    def _plan_batches(self) -> None:
        """Store which texts will be submitted together; those of open batches are left to these."""
        texts: dict[bytes, list[UUID]] = {}
        for page in self._iterate_pages():
            for memory, missing in self._embedder.find_missing(page).items():
                for key in missing:
                    texts.setdefault(key, []).append(memory)
                    if len(texts) == self._most:
                        self._insert_batch(texts)
                        texts = {}
        if texts:
            self._insert_batch(texts)

    def _iterate_pages(self) -> Iterator[list[MemoryRecord]]:
        under_way = (
            sa.select(embedding_batch_items.c.memory_id)
            .join(embedding_batches, embedding_batches.c.id == embedding_batch_items.c.batch_id)
            .where(embedding_batches.c.space == self._space, embedding_batches.c.state == "open")
        )
        after = 0
        while True:
            fresh = (memories.c.seq > after, memories.c.state != "dead", memories.c.id.not_in(under_way))
            query = sa.select(*RECORD_COLUMNS).where(*fresh).order_by(memories.c.seq).limit(PAGE)
            with self._store.read_connection() as connection:
                page = [MemoryRecord(**row) for row in connection.execute(query).mappings()]
            if not page:
                return
            after = page[-1].seq
            yield page

    def _insert_batch(self, texts: dict[bytes, list[UUID]]) -> None:
        batch = new_id()
        rows = [
            {"batch_id": batch, "memory_id": memory, "text_sha": key}
            for key, owners in texts.items()
            for memory in owners
        ]
        with self._store.transaction() as tx:
            tx.connection.execute(embedding_batches.insert().values(id=batch, space=self._space, texts=len(texts)))
            tx.connection.execute(embedding_batch_items.insert(), rows)

    def _read_open(self) -> list[tuple[UUID, str | None]]:
        batches = embedding_batches.c
        mine = (batches.space == self._space, batches.state == "open")
        query = sa.select(batches.id, batches.provider_id).where(*mine).order_by(batches.created_at)
        with self._store.read_connection() as connection:
            return [(batch, provider_id) for batch, provider_id in connection.execute(query)]

    def _submit_batch(self, batch: UUID) -> BatchState:
        items = self._read_items(batch)
        wanted, owners = {key for key, _ in items}, sorted({memory for _, memory in items})
        texts: dict[str, str] = {}
        for at in range(0, len(owners), PAGE):
            for memory in self._read_memories(owners[at : at + PAGE]).values():
                keyed = ((text_sha(text), text) for text in self._embedder.split_texts(memory))
                texts |= {key.hex(): text for key, text in keyed if key in wanted}
        state = self._provider.submit_batch(str(batch), texts)
        with self._store.transaction() as tx:
            mine = embedding_batches.update().where(embedding_batches.c.id == batch)
            tx.connection.execute(mine.values(provider_id=state.id))
        return state

    def _apply_batch(self, batch: UUID, state: BatchState) -> int:
        if state.status != "completed" and state.output_file is None:
            self._end_batch(batch, "failed", 0, state.error or state.status)
            raise ProviderRefused(
                f"the provider ended batch {state.id} as {state.status}: {state.error or 'no reason given'}. What was "
                "kept before stays; run it again, or with AGENTSTATE_EMBEDDING_BACKFILL=direct."
            )
        vectors = {bytes.fromhex(key): vector for key, vector in self._provider.fetch_vectors(state)}
        owners = self._read_items(batch)
        for at in range(0, len(owners), PAGE):
            part = owners[at : at + PAGE]
            known = self._read_memories([memory for _, memory in part])
            self._backlog.keep_vectors(
                self._space,
                [(known[memory], key, vectors[key]) for key, memory in part if memory in known and key in vectors],
            )
        self._end_batch(batch, "applied", len(vectors), state.error)
        return len(vectors)

    def _end_batch(self, batch: UUID, state: str, embedded: int, error: str | None) -> None:
        with self._store.transaction() as tx:
            tx.connection.execute(embedding_batch_items.delete().where(embedding_batch_items.c.batch_id == batch))
            mine = embedding_batches.update().where(embedding_batches.c.id == batch)
            tx.connection.execute(mine.values(state=state, embedded=embedded, error=error, ended_at=db_time()))

    def _read_items(self, batch: UUID) -> list[tuple[bytes, UUID]]:
        items = embedding_batch_items.c
        query = sa.select(items.text_sha, items.memory_id).where(items.batch_id == batch)
        with self._store.read_connection() as connection:
            return [(key, memory) for key, memory in connection.execute(query)]

    def _read_memories(self, ids: Sequence[UUID]) -> dict[UUID, MemoryRecord]:
        query = sa.select(*RECORD_COLUMNS).where(memories.c.id.in_(set(ids)))
        with self._store.read_connection() as connection:
            return {row["id"]: MemoryRecord(**row) for row in connection.execute(query).mappings()}
