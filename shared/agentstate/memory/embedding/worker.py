"""The embedding pipeline: memories that wait become searchable, a batch at a time, whatever fails on the way.

One batch is one claim, one provider call as a rule, and one write to the index. A failure gives the batch back with a
back-off; an index that is down costs no attempt and no second provider call, since the vectors are kept.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from agentstate.errors import IndexUnavailable, InvalidInput, ProviderRateLimited, ProviderTransient
from agentstate.memory.embedding.embed_texts import Embedded, MemoryEmbedder
from agentstate.memory.embedding.leases import LEASE_S, hold_lease
from agentstate.memory.embedding.provider_circuit import ProviderCircuit
from agentstate.memory.embedding.queue import ClaimedBatch, EmbeddingBacklog, PendingMemory
from agentstate.memory.index.index_points import IndexPoint
from agentstate.memory.index.points import points_of
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 300.0
REFUSED_REST_S = 60.0
"""Rest after a refusal that concerns every text: a wrong key, or no quota left."""
LONGEST_ASKED_S = 3_600.0
"""Rest that a provider may ask for."""
LEAST_WORK_S = 120.0
PART = 128
"""Memories in one write to the index; between two of them others have their turn."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class BatchResult:
    """What became of the memories of one batch, or of several."""

    claimed: int = 0
    searchable: int = 0
    retried: int = 0
    """Given back, to be tried again."""
    dead: int = 0
    fenced: int = 0
    """Taken over by another worker meanwhile; its result counts."""
    provider_calls: int = 0
    pause_s: float = 0.0
    """Seconds in which trying again makes no sense: the provider or the index asked for rest."""

    def add_counts(self, other: BatchResult) -> None:
        """Count `other` in."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.pause_s = other.pause_s


class _Lane:
    """Room for so many threads of this process; one that finds no room has those inside look again."""

    def __init__(self, threads: int) -> None:
        self._slots = threading.Semaphore(threads)
        self._asked = False

    def run(self, work: Callable[[], None]) -> bool:
        """Do `work` while somebody asked for it; False when there was no room."""
        self._asked, found_room = True, False
        while self._asked and self._slots.acquire(blocking=False):
            found_room = True
            try:
                self._asked = False
                work()
            finally:
                self._slots.release()
        return found_room


class EmbeddingPipeline:
    """Makes pending memories searchable. Any number of workers may run it at once; one is shared between threads."""

    def __init__(self, store: Store, index: MemoryIndex, embedder: Embedder, settings: Settings) -> None:
        self._backlog = EmbeddingBacklog(store)
        self._index = index
        self._semantic = embedder.semantic
        self._batch = (
            min(settings.embedding_batch, embedder.max_inputs) if embedder.semantic else settings.embedding_batch
        )
        self._embedder = MemoryEmbedder(self._backlog, embedder, index.space, max_inputs=self._batch)
        self._circuit = ProviderCircuit(store, index.space)
        self._wide = _Lane(embedder.parallel)
        self._light = _Lane(1)
        self._work_s = max(LEAST_WORK_S, 4 * settings.provider_timeout_s)

    def run_once(self, *, light: bool = False) -> BatchResult:
        """Take one batch as far as it goes. Nothing to do, or a rest that is not over, gives an empty result.

        With `light` it is one of those agents that have few memories.

        Raises:
            StoreUnavailable: the durable store does not answer; the batch is taken again when its lease ends.
        """
        rest = self._circuit.admit_call()
        if rest > 0:
            return BatchResult(pause_s=rest)
        batch = self._backlog.claim_batch(self._batch, lease_s=LEASE_S, light=light)
        result = BatchResult(claimed=len(batch.memories) + batch.exhausted, dead=batch.exhausted)
        if batch.memories:
            with hold_lease(self._backlog, batch, at_most_s=self._work_s):
                self._process(batch, result)
        return result

    def run_until_idle(self, *, stop: Callable[[], bool] = lambda: False) -> BatchResult:
        """Take batches until none is due, a rest is needed, or `stop()` says so; return the sum.

        While as many threads of this process are at it as the embedder can serve, one more takes what agents with few
        memories have, so that they do not wait for a batch of a flood to end. Further ones return at once, and one of
        those at work looks again: more would only share the same processor, and each would hold a batch for longer.
        """
        total = BatchResult()
        if not self._wide.run(lambda: total.add_counts(self._drain(stop, light=False))):
            self._light.run(lambda: total.add_counts(self._drain(stop, light=True)))
        return total

    def _drain(self, stop: Callable[[], bool], *, light: bool) -> BatchResult:
        total = BatchResult()
        while not stop():
            result = self.run_once(light=light)
            total.add_counts(result)
            if result.claimed == 0 or result.pause_s > 0:
                break
        return total

    def has_due(self) -> bool:
        """Whether any memory waits that may be taken now, and the provider may be called."""
        return self._circuit.pause_s() == 0 and self._backlog.has_due()

    def _process(self, batch: ClaimedBatch, result: BatchResult) -> None:
        made = self._embedder.embed(batch.memories)
        result.provider_calls += made.calls
        failed = made.failed(batch.memories)
        if made.answered:
            self._circuit.record_success()
        for memories, error in failed:
            self._give_back(batch, memories, error, result)
        without = {memory.seq for memories, _ in failed for memory in memories}
        ready = [memory for memory in batch.memories if memory.seq not in without]
        if ready:
            if self._semantic:
                self._backlog.mark_embedded(batch, [memory.seq for memory in ready])
            self._publish(batch, ready, made, result)

    def _give_back(
        self, batch: ClaimedBatch, memories: list[PendingMemory], error: Exception, result: BatchResult
    ) -> None:
        seqs, cause = [memory.seq for memory in memories], _cause(error)
        if not isinstance(error, ProviderTransient):
            result.dead += self._backlog.mark_dead(batch, seqs, error=cause)
            if len(memories) > 1:  # the halving has found no culprit: the provider refuses everything
                self._rest(result, cause, REFUSED_REST_S)
            _log.error("%d memories are not embedded and given up: %s", len(seqs), cause)
            return
        limited = isinstance(error, ProviderRateLimited)
        delay = _delay(memories, error)
        result.retried += self._backlog.release_memories(batch, seqs, delay_s=delay, error=cause, counted=not limited)
        self._rest(result, cause, delay if limited else None)
        _log.warning("%d memories are embedded again in %.0f s: %s", len(seqs), delay, cause)

    def _rest(self, result: BatchResult, cause: str, rest_s: float | None) -> None:
        result.pause_s = max(result.pause_s, self._circuit.record_failure(cause, rest_s=rest_s))

    def _publish(self, batch: ClaimedBatch, memories: list[PendingMemory], made: Embedded, result: BatchResult) -> None:
        """Write to the index in parts, those agents first that have least in the batch: each is found at once then."""
        before = self._backlog.read_preceding(memories)
        points = {memory.seq: points_of(memory, made, before.get(memory.id, ())) for memory in memories}
        share = Counter(memory.agent_id for memory in memories)
        waiting = sorted(memories, key=lambda memory: share[memory.agent_id])
        while waiting:
            part, rest = waiting[:PART], waiting[PART:]
            if not self._publish_part(batch, part, {memory.seq: points[memory.seq] for memory in part}, result):
                self._wait_for_index(batch, rest, result)
                return
            waiting = rest

    def _wait_for_index(self, batch: ClaimedBatch, memories: list[PendingMemory], result: BatchResult) -> None:
        seqs = [memory.seq for memory in memories]
        cause = "the index does not answer"
        result.retried += self._backlog.release_memories(batch, seqs, delay_s=FIRST_DELAY_S, error=cause, counted=False)

    def _publish_part(
        self,
        batch: ClaimedBatch,
        memories: list[PendingMemory],
        points: dict[int, list[IndexPoint]],
        result: BatchResult,
    ) -> bool:
        """Write some memories; False when the index does not answer and the rest had better wait too."""
        seqs = list(points)
        try:
            self._index.upsert_points([point for each in points.values() for point in each])
        except IndexUnavailable as error:
            delay = FIRST_DELAY_S
            result.retried += self._backlog.release_memories(
                batch, seqs, delay_s=delay, error=_cause(error), counted=False
            )
            result.pause_s = max(result.pause_s, delay)
            _log.warning("%d memories wait for the index: %s", len(seqs), _cause(error))
            return False
        except InvalidInput as error:
            delay = _delay(memories, error)
            result.retried += self._backlog.release_memories(
                batch, seqs, delay_s=delay, error=_cause(error), counted=True
            )
            _log.warning("%d memories were refused by the index: %s", len(seqs), _cause(error))
        else:
            counts = {seq: len(each) for seq, each in points.items()}
            marked = self._backlog.mark_searchable(batch, counts, self._index.space)
            result.searchable += marked
            result.fenced += len(seqs) - marked
            if marked < len(seqs):
                self._take_back(memories)
        return True

    def _take_back(self, memories: list[PendingMemory]) -> None:
        """Remove the points of what was forgotten meanwhile; should this fail, the job of the forgetting does it."""
        for memory in self._backlog.find_forgotten(memories):
            try:
                self._index.erase_memories(memory.agent_id, [memory.id])
            except IndexUnavailable as error:
                _log.warning("a forgotten memory is removed from the index later: %s", error)


def _delay(memories: Sequence[PendingMemory], error: Exception) -> float:
    """Seconds until the next try: what the provider asked for, else doubling with every attempt, a little scattered."""
    asked = error.retry_after if isinstance(error, ProviderRateLimited) else None
    if asked is not None:
        return min(max(asked, 0.0), LONGEST_ASKED_S)
    attempts = max(memory.attempts for memory in memories)
    return min(FIRST_DELAY_S * 2.0 ** (attempts - 1), LONGEST_DELAY_S) * random.uniform(0.8, 1.2)  # noqa: S311 no secret


def _cause(error: Exception) -> str:
    return codec.legible(f"{type(error).__name__}: {error}", 500)
