"""From claimed memories to their vectors: stored vectors are reused, the rest is packed into provider calls.

The unit is a text, not a memory: a long memory has several, and equal texts of one batch are sent once. Each answer is
stored before the next call is made. A text that the provider refuses is found by halving, so that it alone fails; and
if its pieces pass, it was too long for the provider, and all texts are cut to that length.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from agentstate.errors import InvalidInput, ProviderError, ProviderRateLimited, ProviderTransient, StoreUnavailable
from agentstate.memory.embedding.queue import EmbeddingBacklog, TextKey
from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.index.points import make_points
from agentstate.memory.search.chunks import CHUNK_TOKENS, point_id, split_chunks
from agentstate.memory.search.preceding_turns import Surroundings
from agentstate.memory.search.terms import USUAL_TERMS
from agentstate.providers.embedding.embedder import Embedder
from agentstate.providers.tokens import estimate_tokens, pack_texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client.http import models

_log = logging.getLogger(__name__)

PROBE = "memory"
"""A text that no provider refuses: whether it passes tells a bad input from a bad provider."""
KEEP_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Waits between attempts to store an answer; giving up means paying again."""
MIN_PIECE_TOKENS = 32
"""A text that is refused in pieces of this length is not refused for its length."""
SPLIT_AFTER = 3
"""A batch whose memories failed this often is searched for the text that the provider refuses."""


@dataclass
class Embedded:
    """The texts of some memories, and their vectors as far as there are any."""

    texts: dict[UUID, list[str]]
    """The texts that are searched for each memory, chunk by chunk."""
    vectors: dict[TextKey, bytes] = field(default_factory=dict)
    failures: list[tuple[set[bytes], Exception]] = field(default_factory=list)
    """Hashes of texts that have no vector, with the cause."""
    calls: int = 0
    answered: int = 0
    """Calls that the provider answered well."""

    def make_points(self, memory: MemoryRecord, around: Surroundings) -> list[models.PointStruct]:
        """Return the memory's points for the index, given the texts around it."""
        import numpy as np

        chunks = self.texts[memory.id]
        stored = [self.vectors.get((memory.agent_id, text_sha(chunk))) for chunk in chunks]
        vectors = [None if vector is None else np.frombuffer(vector, dtype="<f4").tolist() for vector in stored]
        before, usual = around.before.get(memory.id, ()), around.usual_terms.get(memory.agent_id, USUAL_TERMS)
        return make_points(memory, chunks, vectors, before, usual=usual)

    def group_failed(self, memories: Sequence[MemoryRecord]) -> list[tuple[list[MemoryRecord], Exception]]:
        """Return the memories that lack a vector, grouped by cause; each once."""
        hashes = {memory.id: {text_sha(text) for text in self.texts[memory.id]} for memory in memories}
        found, seen = [], set[UUID]()
        for spoiled, error in self.failures:
            hit = [memory for memory in memories if memory.id not in seen and hashes[memory.id] & spoiled]
            seen |= {memory.id for memory in hit}
            found.append((hit, error))
        return [item for item in found if item[0]]


def text_sha(text: str) -> bytes:
    """Return the hash under which the vector of a text is stored."""
    return hashlib.sha256(text.encode()).digest()


class MemoryEmbedder:
    """Embeds the texts of memories in one vector space. Safe to share between threads."""

    def __init__(
        self,
        backlog: EmbeddingBacklog,
        embedder: Embedder,
        space: str,
        *,
        max_inputs: int,
        max_text_tokens: int = CHUNK_TOKENS,
    ) -> None:
        self._backlog = backlog
        self._embedder = embedder
        self._space = space
        self._max_inputs = max_inputs
        self._text_tokens = min(CHUNK_TOKENS, max_text_tokens)
        if embedder.semantic:
            self._text_tokens = min(self._text_tokens, embedder.max_tokens_per_text)

    def embed_memories(self, memories: Sequence[MemoryRecord]) -> Embedded:
        """Return the vectors of `memories`, as far as the provider gives them; none without a model."""
        made = Embedded({memory.id: self.split_texts(memory) for memory in memories})
        if self._embedder.semantic:
            while True:
                limit = self._text_tokens
                self._embed_missing(memories, made)
                if self._text_tokens == limit:
                    break
                # The provider takes shorter texts only. What it took is stored; the rest is cut anew.
                made.texts = {memory.id: self.split_texts(memory) for memory in memories}
                made.failures.clear()
        return made

    def _embed_missing(self, memories: Sequence[MemoryRecord], made: Embedded) -> None:
        """Embed and store the texts that have no vector yet; stop when the provider fails, or takes shorter texts."""
        owners: dict[bytes, list[MemoryRecord]] = {}
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
        keys, text_tokens = list(missing), self._text_tokens
        for run in pack_texts(
            list(missing.values()), max_inputs=self._max_inputs, max_tokens=self._embedder.max_tokens_per_call
        ):
            vectors: dict[bytes, bytes] = {}
            part = {key: missing[key] for key in keys[run.start : run.stop]}
            stop = self._embed_halving(part, attempts, vectors, made)
            paid = [(memory, key, vector) for key, vector in vectors.items() for memory in owners[key]]
            for pause_s in (*KEEP_PAUSES_S, None):  # they are paid for: the store may be away for a moment
                try:
                    self._backlog.keep_vectors(self._space, paid)
                    break
                except StoreUnavailable:
                    if pause_s is None:
                        raise
                    time.sleep(pause_s)
            made.vectors |= {(memory.agent_id, key): vector for memory, key, vector in paid}
            if stop is not None:
                # The provider is at fault, not a text: the other runs would only meet the same.
                made.failures.append((set(keys[run.stop :]), stop))
            if stop is not None or self._text_tokens < text_tokens:
                break

    def split_texts(self, memory: MemoryRecord) -> list[str]:
        """Return the texts that are searched for a memory, each short enough for one vector."""
        return split_chunks(memory.content, limit=self._text_tokens, speaker=memory.speaker, said_at=memory.at)

    def find_missing(self, memories: Sequence[MemoryRecord]) -> dict[UUID, list[bytes]]:
        """Return the hashes of each memory's texts that have no vector yet."""
        hashes = {memory.id: [text_sha(text) for text in self.split_texts(memory)] for memory in memories}
        known = self._backlog.read_vectors(memories, self._space, [key for keys in hashes.values() for key in keys])
        return {
            memory.id: [key for key in dict.fromkeys(hashes[memory.id]) if (memory.agent_id, key) not in known]
            for memory in memories
        }

    def point_ids(self, memory: MemoryRecord) -> list[UUID]:
        """Return the ids of a memory's points."""
        return [point_id(memory.id, number) for number in range(len(self.split_texts(memory)))]

    def _embed_halving(
        self, texts: dict[bytes, str], attempts: int, vectors: dict[bytes, bytes], made: Embedded
    ) -> Exception | None:
        """Embed `texts` into `vectors`; return the error if the provider is at fault, not one of the texts."""
        try:
            answer = self._call_provider(list(texts.values()), made)
        except (ProviderError, InvalidInput) as error:
            is_early = isinstance(error, ProviderTransient) and attempts < SPLIT_AFTER
            if isinstance(error, ProviderRateLimited) or is_early or not self._passes([PROBE], made):
                made.failures.append((set(texts), error))
                return error
            keys = list(texts)
            if len(keys) == 1:
                if not self._learn_limit(texts[keys[0]], made):
                    made.failures.append((set(keys), error))
                return None
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                if stop := self._embed_halving({key: texts[key] for key in half}, attempts, vectors, made):
                    return stop
            return None
        vectors |= dict(zip(texts, answer, strict=True))
        return None

    def _learn_limit(self, text: str, made: Embedded) -> bool:
        """Return whether a refused text passes in shorter pieces; then all texts are cut to that length from now on.

        A text that is refused for its content has a piece that is refused however short it is.
        """
        size = min(estimate_tokens(text), self._text_tokens) // 2
        while size >= MIN_PIECE_TOKENS:
            if self._passes(split_chunks(text, limit=size), made):
                _log.warning("the embedder takes no text of %d tokens; texts are cut to %d", 2 * size, size)
                self._text_tokens = size
                return True
            size //= 2
        return False

    def _passes(self, texts: list[str], made: Embedded) -> bool:
        try:
            self._call_provider(texts, made)
        except (ProviderError, InvalidInput):
            return False
        return True

    def _call_provider(self, texts: list[str], made: Embedded) -> list[bytes]:
        made.calls += 1
        array: NDArray[np.float32] = self._embedder.embed_documents(texts)
        made.answered += 1
        return [row.astype("<f4").tobytes() for row in array]
