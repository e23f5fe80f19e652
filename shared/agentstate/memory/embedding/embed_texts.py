"""From claimed memories to their vectors: what was paid for before is taken, the rest is packed into provider calls.

The unit is a text, not a memory: a long memory has several, and equal texts of one batch are sent once. Each answer is
kept before the next call is made. A text that the provider will not take is found by halving, so that it alone fails.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from agentstate.errors import InvalidInput, ProviderError, ProviderRateLimited, ProviderTransient, StoreUnavailable
from agentstate.memory.embedding.queue import EmbeddingBacklog, Made, PendingMemory
from agentstate.memory.search.chunks import CHUNK_TOKENS, point_id, split_chunks
from agentstate.providers.embedding.embedder import Embedder
from agentstate.providers.tokens import pack_texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE = "memory"
"""A text that no provider refuses: whether it passes tells a bad input from a bad provider."""
KEEP_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Waits between tries to keep an answer; giving up means paying again."""
SPLIT_AFTER = 3
"""A batch whose memories failed this often is searched for the text that spoils it."""


@dataclass
class Embedded:
    """What came of the texts of some memories."""

    texts: dict[UUID, list[str]]
    """Of each memory what is searched for it, chunk by chunk."""
    vectors: dict[Made, bytes] = field(default_factory=dict)
    failures: list[tuple[set[bytes], Exception]] = field(default_factory=list)
    """Hashes of texts that have no vector, with the cause."""
    calls: int = 0
    answered: int = 0
    """Calls that the provider answered well."""

    def vectors_of(self, memory: PendingMemory) -> list[bytes | None]:
        """A vector for each of its texts, None where there is none."""
        return [self.vectors.get((memory.agent_id, text_sha(text))) for text in self.texts[memory.id]]

    def failed(self, memories: Sequence[PendingMemory]) -> list[tuple[list[PendingMemory], Exception]]:
        """The memories that lack a vector, by cause; each once."""
        hashes = {memory.id: {text_sha(text) for text in self.texts[memory.id]} for memory in memories}
        found, seen = [], set[UUID]()
        for spoiled, error in self.failures:
            hit = [memory for memory in memories if memory.id not in seen and hashes[memory.id] & spoiled]
            seen |= {memory.id for memory in hit}
            found.append((hit, error))
        return [item for item in found if item[0]]


def text_sha(text: str) -> bytes:
    """Under what the vector of a text is kept."""
    return hashlib.sha256(text.encode()).digest()


def texts_of(memory: PendingMemory, embedder: Embedder) -> list[str]:
    """What is searched for a memory, in pieces of which a vector can tell."""
    limit = min(CHUNK_TOKENS, embedder.max_tokens_per_text) if embedder.semantic else CHUNK_TOKENS
    return split_chunks(memory.content, limit=limit, speaker=memory.speaker, said_at=memory.said_at)


class MemoryEmbedder:
    """Embeds the texts of memories. Safe to share between threads."""

    def __init__(self, backlog: EmbeddingBacklog, embedder: Embedder, space: str, *, max_inputs: int) -> None:
        self._backlog = backlog
        self._embedder = embedder
        self._space = space
        self._max_inputs = max_inputs

    def embed(self, memories: Sequence[PendingMemory]) -> Embedded:
        """The vectors of `memories`, as far as they can be had; none without a model."""
        made = Embedded({memory.id: texts_of(memory, self._embedder) for memory in memories})
        if self._embedder.semantic:
            self._fill(memories, made)
        return made

    def texts(self, memory: PendingMemory) -> list[str]:
        """What is embedded of a memory."""
        return texts_of(memory, self._embedder)

    def missing(self, memories: Sequence[PendingMemory]) -> dict[UUID, list[bytes]]:
        """Of each memory the hashes of its texts that have no vector yet."""
        hashes = {memory.id: [text_sha(text) for text in self.texts(memory)] for memory in memories}
        known = self._backlog.read_vectors(memories, self._space, [key for keys in hashes.values() for key in keys])
        return {
            memory.id: [key for key in dict.fromkeys(hashes[memory.id]) if (memory.agent_id, key) not in known]
            for memory in memories
        }

    def point_ids(self, memory: PendingMemory) -> list[UUID]:
        """The ids of a memory's points."""
        return [point_id(memory.id, number) for number in range(len(texts_of(memory, self._embedder)))]

    def _fill(self, memories: Sequence[PendingMemory], made: Embedded) -> None:
        owners: dict[bytes, list[PendingMemory]] = {}
        texts: dict[bytes, str] = {}
        for memory in memories:
            for text in made.texts[memory.id]:
                key = text_sha(text)
                texts[key] = text
                owners.setdefault(key, []).append(memory)
        made.vectors = self._backlog.read_vectors(memories, self._space, list(texts))
        missing = {
            key: text
            for key, text in texts.items()
            if any((memory.agent_id, key) not in made.vectors for memory in owners[key])
        }
        attempts = max(memory.attempts for memory in memories)
        self._embed_all(missing, owners, attempts, made)

    def _embed_all(
        self, missing: dict[bytes, str], owners: dict[bytes, list[PendingMemory]], attempts: int, made: Embedded
    ) -> None:
        keys = list(missing)
        limit = self._embedder.max_tokens_per_call
        for run in pack_texts(list(missing.values()), max_inputs=self._max_inputs, max_tokens=limit):
            vectors: dict[bytes, bytes] = {}
            part = {key: missing[key] for key in keys[run.start : run.stop]}
            stop = self._embed_some(part, attempts, vectors, made)
            kept = [(memory, key, vector) for key, vector in vectors.items() for memory in owners[key]]
            self._keep(kept)
            made.vectors |= {(memory.agent_id, key): vector for memory, key, vector in kept}
            if stop is not None:
                # The provider is at fault, not a text: the other runs would only meet the same.
                made.failures.append((set(keys[run.stop :]), stop))
                return

    def _keep(self, vectors: list[tuple[PendingMemory, bytes, bytes]]) -> None:
        """Keep what was paid for, also when the durable store is away for a moment."""
        for pause_s in KEEP_PAUSES_S:
            try:
                return self._backlog.keep_vectors(self._space, vectors)
            except StoreUnavailable:
                time.sleep(pause_s)
        return self._backlog.keep_vectors(self._space, vectors)

    def _embed_some(
        self, texts: dict[bytes, str], attempts: int, vectors: dict[bytes, bytes], made: Embedded
    ) -> Exception | None:
        """Embed `texts` into `vectors`; the error when the provider is to blame for a failure."""
        try:
            answer = self._call(list(texts.values()), made)
        except (ProviderError, InvalidInput) as error:
            spoiled = self._is_spoiled(attempts, error, made)
            if not spoiled or len(texts) == 1:
                made.failures.append((set(texts), error))
                return None if spoiled else error
            keys = list(texts)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                if stop := self._embed_some({key: texts[key] for key in half}, attempts, vectors, made):
                    return stop
            return None
        vectors |= dict(zip(texts, answer, strict=True))
        return None

    def _call(self, texts: list[str], made: Embedded) -> list[bytes]:
        made.calls += 1
        array: NDArray[np.float32] = self._embedder.embed_documents(texts)
        made.answered += 1
        return [row.astype("<f4").tobytes() for row in array]

    def _is_spoiled(self, attempts: int, error: Exception, made: Embedded) -> bool:
        """Whether one of the texts is to blame, rather than the provider: then a harmless text passes."""
        if isinstance(error, ProviderRateLimited):
            return False
        if isinstance(error, ProviderTransient) and attempts < SPLIT_AFTER:
            return False
        try:
            self._call([PROBE], made)
        except ProviderError:
            return False
        return True
