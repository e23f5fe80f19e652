"""The embedding pipeline makes pending memories searchable, a batch at a time, in spite of failures.

One batch is one claim, one provider call as a rule, and one write to the index. A failure gives the batch back with a
back-off; an index that is down costs no attempt and no second provider call, since the vectors are kept.

A claimed batch is held by a short lease that its worker renews. The batch of a killed worker is taken over within
seconds; a slow worker keeps it; a worker that hangs loses it in the end.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from agentstate.errors import (
    IndexUnavailable,
    InvalidInput,
    ProviderRateLimited,
    ProviderTransient,
    StoreUnavailable,
)
from agentstate.memory.embedding.embed_texts import Embedded, MemoryEmbedder
from agentstate.memory.embedding.provider_circuit import ProviderCircuit
from agentstate.memory.embedding.queue import ClaimedBatch, EmbeddingBacklog
from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.preceding_turns import Surroundings
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store

if TYPE_CHECKING:
    from qdrant_client.http import models

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 300.0
REFUSED_PAUSE_S = 60.0
"""Pause after a refusal that concerns every text: a wrong key, or no quota left."""
LONGEST_ASKED_S = 3_600.0
"""Pause that a provider may ask for."""
LEAST_WORK_S = 120.0
LEASE_S = 15.0
"""After this time without a renewal a batch is taken over."""
PART = 128
"""Memories in one write to the index; between two of them others have their turn."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class BatchResult:
    """The outcome of one batch, or of several, in numbers of memories."""

    claimed: int = 0
    searchable: int = 0
    retried: int = 0
    """Given back, to be tried again."""
    dead: int = 0
    fenced: int = 0
    """Taken over by another worker meanwhile; its result counts."""
    provider_calls: int = 0
    pause_s: float = 0.0
    """Seconds in which trying again makes no sense: the provider or the index needs a pause."""

    def add_counts(self, other: BatchResult) -> None:
        """Add the counts of `other`."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.pause_s = other.pause_s


class _Lane:
    """Room for so many threads of this process; a thread that finds no room has those inside look again."""

    def __init__(self, threads: int) -> None:
        self._slots = threading.Semaphore(threads)
        self._is_asked = False

    def run_if_free(self, work: Callable[[], None]) -> bool:
        """Run `work` as long as it is asked for; return False when there was no room."""
        self._is_asked, found_room = True, False
        while self._is_asked and self._slots.acquire(blocking=False):
            found_room = True
            try:
                self._is_asked = False
                work()
            finally:
                self._slots.release()
        return found_room


class EmbeddingPipeline:
    """Makes pending memories searchable. Any number of workers may run it at once; one is shared between threads."""

    def __init__(self, store: Store, index: MemoryIndex, embedder: Embedder, settings: Settings) -> None:
        self._store = store
        self._backlog = EmbeddingBacklog(store)
        self._index = index
        self._semantic = embedder.semantic
        self._batch = (
            min(settings.embedding_batch, embedder.max_inputs) if embedder.semantic else settings.embedding_batch
        )
        self._embedder = MemoryEmbedder(
            self._backlog,
            embedder,
            index.space,
            max_inputs=self._batch,
            max_text_tokens=settings.embedding_text_tokens,
        )
        self._circuit = ProviderCircuit(store, index.space)
        self._wide = _Lane(embedder.parallel)
        self._light = _Lane(1)
        self._work_s = max(LEAST_WORK_S, 4 * settings.provider_timeout_s)

    def run_once(self, *, light: bool = False) -> BatchResult:
        """Take one batch as far as it goes. Nothing to do, or a pause that is not over, gives an empty result.

        With `light` it is one of agents that have few memories.

        Raises:
            StoreUnavailable: the durable store does not answer; the batch is taken again when its lease ends.
        """
        pause = self._circuit.admit_call()
        if pause > 0:
            return BatchResult(pause_s=pause)
        batch = self._backlog.claim_batch(self._batch, lease_s=LEASE_S, light=light)
        result = BatchResult(claimed=len(batch.memories) + batch.exhausted, dead=batch.exhausted)
        if batch.memories:
            with hold_lease(self._backlog, batch, at_most_s=self._work_s):
                made = self._embedder.embed_memories(batch.memories)
                result.provider_calls += made.calls
                failed = made.group_failed(batch.memories)
                if made.answered:
                    self._circuit.record_success()
                for memories, error in failed:
                    self._give_back(batch, memories, error, result)
                without = {memory.seq for memories, _ in failed for memory in memories}
                ready = [memory for memory in batch.memories if memory.seq not in without]
                if ready:
                    if self._semantic:
                        self._backlog.mark_embedded(batch, [memory.seq for memory in ready])
                    self._publish_all(batch, ready, made, result)
        return result

    def run_until_idle(self, *, stop: Callable[[], bool] = lambda: False) -> BatchResult:
        """Take batches until none is due, a pause is needed, or `stop()` says so; return the sum.

        While as many threads of this process are at it as the embedder can serve, one more takes the memories of agents
        with few of them, so that they do not wait for a batch of a flood to end. Further ones return at once, and one
        of those at work looks again: more would only share the same processor, and hold each batch for longer.
        """
        total = BatchResult()

        def drain(*, light: bool) -> None:
            while not stop():
                result = self.run_once(light=light)
                total.add_counts(result)
                if result.claimed == 0 or result.pause_s > 0:
                    break

        if not self._wide.run_if_free(lambda: drain(light=False)):
            self._light.run_if_free(lambda: drain(light=True))
        return total

    def has_due(self) -> bool:
        """Return whether any memory is due and the provider may be called."""
        return self._circuit.pause_s() == 0 and self._backlog.has_due()

    def _give_back(
        self, batch: ClaimedBatch, memories: list[MemoryRecord], error: Exception, result: BatchResult
    ) -> None:
        """Give memories without a vector back, for a later attempt or for good, and let the provider pause."""
        seqs, cause = [memory.seq for memory in memories], _describe_error(error)
        pause: float | None = None
        if isinstance(error, ProviderTransient):
            is_limited = isinstance(error, ProviderRateLimited)
            delay = _retry_delay_s(memories, error)
            result.retried += self._backlog.release_memories(
                batch, seqs, delay_s=delay, error=cause, counted=not is_limited
            )
            pause = delay if is_limited else None
            _log.warning("could not embed %d memories, will retry in %.0f s: %s", len(seqs), delay, cause)
        else:
            result.dead += self._backlog.mark_dead(batch, seqs, error=cause)
            _log.error("could not embed %d memories, gave them up: %s", len(seqs), cause)
            if len(memories) == 1:
                return
            pause = REFUSED_PAUSE_S  # halving has found no text at fault: the provider refuses everything
        result.pause_s = max(result.pause_s, self._circuit.record_failure(cause, pause_s=pause))

    def _publish_all(
        self, batch: ClaimedBatch, memories: list[MemoryRecord], made: Embedded, result: BatchResult
    ) -> None:
        """Write to the index in parts, those agents first that have least in the batch: each is found at once then."""
        with self._store.read_connection() as connection:
            around = Surroundings.read(connection, memories)
        points = {memory.seq: made.make_points(memory, around) for memory in memories}
        share = Counter(memory.agent_id for memory in memories)
        waiting = sorted(memories, key=lambda memory: share[memory.agent_id])
        while waiting:
            part, rest = waiting[:PART], waiting[PART:]
            if not self._publish_part(batch, part, points, result):
                seqs, cause = [memory.seq for memory in rest], "the index does not answer"
                result.retried += self._backlog.release_memories(
                    batch, seqs, delay_s=FIRST_DELAY_S, error=cause, counted=False
                )
                return
            waiting = rest

    def _publish_part(
        self,
        batch: ClaimedBatch,
        memories: list[MemoryRecord],
        points: dict[int, list[models.PointStruct]],
        result: BatchResult,
    ) -> bool:
        """Write some memories; return False when the index does not answer and the rest had better wait too."""
        seqs = [memory.seq for memory in memories]
        try:
            self._index.upsert_points([point for seq in seqs for point in points[seq]])
        except (IndexUnavailable, InvalidInput) as error:
            is_down, cause = isinstance(error, IndexUnavailable), _describe_error(error)
            delay = FIRST_DELAY_S if is_down else _retry_delay_s(memories, error)
            result.retried += self._backlog.release_memories(
                batch, seqs, delay_s=delay, error=cause, counted=not is_down
            )
            if is_down:
                result.pause_s = max(result.pause_s, delay)
            _log.warning("could not index %d memories, will retry in %.0f s: %s", len(seqs), delay, cause)
            return not is_down
        marked = self._backlog.mark_searchable(batch, {seq: len(points[seq]) for seq in seqs}, self._index.space)
        result.searchable += marked
        result.fenced += len(seqs) - marked
        if marked < len(seqs):
            # Some were forgotten meanwhile: remove their points. Should this fail, the job of the forgetting does it.
            for memory in self._backlog.find_forgotten(memories):
                try:
                    self._index.erase_memories(memory.agent_id, [memory.id])
                except IndexUnavailable as error:
                    _log.warning("could not remove a forgotten memory from the index, will retry: %s", error)
        return True


@contextmanager
def hold_lease(
    backlog: EmbeddingBacklog,
    batch: ClaimedBatch,
    *,
    at_most_s: float,
    lease_s: float = LEASE_S,
    every_s: float = LEASE_S / 3,
) -> Iterator[None]:
    """Renew the lease of `batch` every `every_s` seconds while the block runs, for `at_most_s` seconds in all."""
    done = threading.Event()
    until = time.monotonic() + at_most_s

    def renew_lease() -> None:
        while not done.wait(every_s) and time.monotonic() < until:
            try:
                backlog.renew_lease(batch, lease_s=lease_s)
            except StoreUnavailable as error:
                _log.warning("could not renew the lease of %d memories: %s", len(batch.memories), error)

    renewing = threading.Thread(target=renew_lease, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


def _retry_delay_s(memories: Sequence[MemoryRecord], error: Exception) -> float:
    """Return the delay that the provider asked for, else one that doubles with every attempt, a little scattered."""
    asked = error.retry_after if isinstance(error, ProviderRateLimited) else None
    if asked is not None:
        return min(max(asked, 0.0), LONGEST_ASKED_S)
    attempts = max(memory.attempts for memory in memories)
    return min(FIRST_DELAY_S * 2.0 ** (attempts - 1), LONGEST_DELAY_S) * random.uniform(0.8, 1.2)  # noqa: S311 no secret


def _describe_error(error: Exception) -> str:
    return codec.storable_text(f"{type(error).__name__}: {error}", 500)
