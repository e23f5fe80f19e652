"""The embedding pipeline: memories that wait become searchable, a batch at a time, whatever fails on the way.

One batch is one claim, one provider call and one write to the index. A failure gives the batch back with a back-off; a
text that the provider will not take is found by halving, so that it alone is given up; an index that is down costs no
attempt and no second provider call, since the vectors are kept.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING
from uuid import UUID

from agentstate.errors import (
    IndexUnavailable,
    InvalidInput,
    ProviderError,
    ProviderRateLimited,
    ProviderTransient,
)
from agentstate.memory.backlog import ClaimedBatch, EmbeddingBacklog, PendingMemory
from agentstate.memory.index import IndexPoint, MemoryIndex
from agentstate.providers.embedder import Embedder
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 300.0
REFUSED_PAUSE_S = 60.0
"""Rest after a refusal that concerns every text: a wrong key, or no quota left."""
PROBE = "memory"
"""A text that no provider refuses: whether it passes tells a bad input from a bad provider."""
SPLIT_AFTER = 3
"""A batch whose memories failed this often is searched for the one that spoils it."""
LEAST_LEASE_S = 120.0

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

    def add(self, other: BatchResult) -> None:
        """Count `other` in."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.pause_s = other.pause_s


@dataclass
class _Attempt:
    """What embedding one batch gave."""

    vectors: dict[UUID, bytes] = field(default_factory=dict)
    failed: list[tuple[list[PendingMemory], Exception]] = field(default_factory=list)


class EmbeddingPipeline:
    """Makes pending memories searchable. Any number of workers may run it at once; one is shared between threads."""

    def __init__(
        self,
        store: Store,
        index: MemoryIndex,
        embedder: Embedder,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backlog = EmbeddingBacklog(store)
        self._index = index
        self._embedder = embedder
        self._batch = (
            min(settings.embedding_batch, embedder.max_inputs) if embedder.semantic else settings.embedding_batch
        )
        self._slots = threading.Semaphore(embedder.parallel)
        self._asked = False
        self._lease_s = max(LEAST_LEASE_S, 4 * settings.provider_timeout_s)
        self._monotonic = monotonic
        self._rest_until = 0.0

    def run_once(self) -> BatchResult:
        """Take one batch as far as it goes. Nothing to do, or a rest that is not over, gives an empty result.

        Raises:
            StoreUnavailable: the durable store does not answer; the batch is taken again when its lease ends.
        """
        pause = self._rest_until - self._monotonic()
        if pause > 0:
            return BatchResult(pause_s=pause)
        batch = self._backlog.claim(self._batch, lease_s=self._lease_s)
        result = BatchResult(claimed=len(batch.memories) + batch.exhausted, dead=batch.exhausted)
        if batch.memories:
            self._process(batch, result)
        if result.pause_s > 0:
            self._rest_until = self._monotonic() + result.pause_s
        return result

    def run_until_idle(self, *, stop: Callable[[], bool] = lambda: False) -> BatchResult:
        """Take batches until none is due, a rest is needed, or `stop()` says so; return the sum.

        While as many threads of this process are at it as the embedder can serve, this returns at once and one of them
        looks again: more would only share the same processor, and each would hold a batch for longer.
        """
        total = BatchResult()
        self._asked = True
        while self._asked and self._slots.acquire(blocking=False):
            try:
                self._asked = False
                total.add(self._drain(stop))
            finally:
                self._slots.release()
        return total

    def _drain(self, stop: Callable[[], bool]) -> BatchResult:
        total = BatchResult()
        while not stop():
            result = self.run_once()
            total.add(result)
            if result.claimed == 0 or result.pause_s > 0:
                break
        return total

    def has_due(self) -> bool:
        """Whether any memory waits that may be taken now."""
        return self._backlog.has_due()

    def _process(self, batch: ClaimedBatch, result: BatchResult) -> None:
        attempt = self._embed(batch, result) if self._embedder.semantic else _Attempt()
        failed = {memory.seq for memories, _ in attempt.failed for memory in memories}
        for memories, error in attempt.failed:
            self._give_back(batch, memories, error, result)
        ready = [memory for memory in batch.memories if memory.seq not in failed]
        if ready:
            self._publish(batch, ready, attempt.vectors, result)

    def _embed(self, batch: ClaimedBatch, result: BatchResult) -> _Attempt:
        space = self._index.collection
        attempt = _Attempt(vectors=self._backlog.vectors(batch.memories, space))
        missing = [memory for memory in batch.memories if memory.id not in attempt.vectors]
        if missing:
            made = _Attempt()
            self._embed_some(missing, made, result)
            self._backlog.keep_vectors(batch, space, made.vectors)
            attempt.vectors |= made.vectors
            attempt.failed = made.failed
        return attempt

    def _embed_some(self, memories: list[PendingMemory], attempt: _Attempt, result: BatchResult) -> None:
        try:
            vectors = self._call([memory.text for memory in memories], result)
        except (ProviderError, InvalidInput) as error:
            if len(memories) > 1 and self._is_spoiled(memories, error, result):
                middle = len(memories) // 2
                self._embed_some(memories[:middle], attempt, result)
                self._embed_some(memories[middle:], attempt, result)
            else:
                attempt.failed.append((memories, error))
            return
        attempt.vectors |= {memory.id: vector for memory, vector in zip(memories, vectors, strict=True)}

    def _call(self, texts: Sequence[str], result: BatchResult) -> list[bytes]:
        result.provider_calls += 1
        array: NDArray[np.float32] = self._embedder.embed_documents(texts)
        return [row.astype("<f4").tobytes() for row in array]

    def _is_spoiled(self, memories: list[PendingMemory], error: Exception, result: BatchResult) -> bool:
        """Whether one of the texts is to blame, rather than the provider: then a harmless text passes."""
        if isinstance(error, ProviderRateLimited):
            return False
        if isinstance(error, ProviderTransient) and max(memory.attempts for memory in memories) < SPLIT_AFTER:
            return False
        try:
            self._call([PROBE], result)
        except ProviderError:
            return False
        return True

    def _give_back(
        self, batch: ClaimedBatch, memories: list[PendingMemory], error: Exception, result: BatchResult
    ) -> None:
        seqs = [memory.seq for memory in memories]
        cause = _cause(error)
        if not isinstance(error, ProviderTransient):
            result.dead += self._backlog.bury(batch, seqs, error=cause)
            result.pause_s = max(result.pause_s, REFUSED_PAUSE_S if len(memories) > 1 else 0.0)
            _log.error("%d memories are not embedded and given up: %s", len(seqs), cause)
            return
        limited = isinstance(error, ProviderRateLimited)
        delay = _delay(memories, error)
        result.retried += self._backlog.release(batch, seqs, delay_s=delay, error=cause, counted=not limited)
        result.pause_s = max(result.pause_s, delay if limited else 0.0)
        _log.warning("%d memories are embedded again in %.0f s: %s", len(seqs), delay, cause)

    def _publish(
        self, batch: ClaimedBatch, memories: list[PendingMemory], vectors: dict[UUID, bytes], result: BatchResult
    ) -> None:
        seqs = [memory.seq for memory in memories]
        try:
            self._index.upsert([_point(memory, vectors.get(memory.id)) for memory in memories])
        except IndexUnavailable as error:
            delay = FIRST_DELAY_S
            result.retried += self._backlog.release(batch, seqs, delay_s=delay, error=_cause(error), counted=False)
            result.pause_s = max(result.pause_s, delay)
            _log.warning("%d memories wait for the index: %s", len(seqs), _cause(error))
        except InvalidInput as error:
            delay = _delay(memories, error)
            result.retried += self._backlog.release(batch, seqs, delay_s=delay, error=_cause(error), counted=True)
            _log.warning("%d memories were refused by the index: %s", len(seqs), _cause(error))
        else:
            marked = self._backlog.searchable(batch, seqs, self._index.collection)
            result.searchable += marked
            result.fenced += len(seqs) - marked


def _point(memory: PendingMemory, vector: bytes | None) -> IndexPoint:
    return IndexPoint(
        id=memory.id,
        agent_id=memory.agent_id,
        kind=memory.kind,
        text=memory.text,
        version=memory.version,
        at=memory.said_at or memory.created_at,
        session=memory.session,
        vector=None if vector is None else _numbers(vector),
    )


def _numbers(vector: bytes) -> list[float]:
    import numpy as np

    numbers: list[float] = np.frombuffer(vector, dtype="<f4").tolist()
    return numbers


def _delay(memories: Sequence[PendingMemory], error: Exception) -> float:
    """Seconds until the next try: what the provider asked for, else doubling with every attempt, a little scattered."""
    asked = error.retry_after if isinstance(error, ProviderRateLimited) else None
    if asked is not None:
        return min(max(asked, 0.0), 3_600.0)
    attempts = max(memory.attempts for memory in memories)
    return min(FIRST_DELAY_S * 2.0 ** (attempts - 1), LONGEST_DELAY_S) * random.uniform(0.8, 1.2)  # noqa: S311 no secret


def _cause(error: Exception) -> str:
    return codec.legible(f"{type(error).__name__}: {error}", 500)
