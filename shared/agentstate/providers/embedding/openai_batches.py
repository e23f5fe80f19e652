"""Embeddings by OpenAI's batch API: a file of texts now, their vectors within a day, at half the price.

A batch carries an id of ours, so that one whose answer was lost is found again instead of being paid twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agentstate.errors import ProviderAnswerInvalid
from agentstate.providers.clients import openai_sdk
from agentstate.providers.embedding.embedder import validate_vectors
from agentstate.providers.faults import provider_faults
from agentstate.providers.tokens import fit_tokens

if TYPE_CHECKING:
    from agentstate.providers.embedding.openai_embedder import OpenAIEmbedder

MOST_TEXTS: Final = 50_000
"""In one batch; the provider takes no more."""
_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_OUR_ID: Final = "agentstate_id"
_OK: Final = 200


@dataclass(frozen=True)
class BatchState:
    """The state of a batch at the provider."""

    id: str
    status: str
    output_file: str | None = None
    error: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether it has ended."""
        return self.status in _ENDED


class OpenAIBatches:
    """The batch API with an embedder's model, client and key. Raises `ProviderError`s as that does."""

    def __init__(self, embedder: OpenAIEmbedder) -> None:
        self._embedder = embedder

    def submit_batch(self, our_id: str, texts: Mapping[str, str]) -> BatchState:
        """Submit texts by key, `MOST_TEXTS` at most; return the earlier batch of `our_id` if there is one."""
        embedder = self._embedder
        with self._translate_faults():
            for batch in embedder.client.batches.list(limit=100):
                if (batch.metadata or {}).get(_OUR_ID) == our_id:
                    return _batch_state(batch)
            lines = []
            for key, text in texts.items():
                fitting = fit_tokens(text, embedder.max_tokens_per_text)
                body = {"input": fitting, "encoding_format": "float", **embedder.request_options}
                lines.append(json.dumps({"custom_id": key, "method": "POST", "url": "/v1/embeddings", "body": body}))
            file = ("texts.jsonl", "\n".join(lines).encode(), "application/jsonl")
            uploaded = embedder.client.files.create(file=file, purpose="batch")
            submitted = embedder.client.batches.create(
                input_file_id=uploaded.id,
                endpoint="/v1/embeddings",
                completion_window="24h",
                metadata={_OUR_ID: our_id},
            )
            return _batch_state(submitted)

    def fetch_batch(self, batch_id: str) -> BatchState:
        """Return the state of a batch."""
        with self._translate_faults():
            return _batch_state(self._embedder.client.batches.retrieve(batch_id))

    def fetch_vectors(self, batch: BatchState) -> Iterator[tuple[str, bytes]]:
        """Yield (key, vector as float32 bytes) of each text that was embedded well; the others are left out."""
        if batch.output_file is None:
            return
        with self._translate_faults():
            lines = self._embedder.client.files.content(batch.output_file).text.splitlines()
        for line in filter(None, lines):
            answer = json.loads(line)
            response = answer.get("response") or {}
            data = (response.get("body") or {}).get("data") or []
            if response.get("status_code") == _OK and len(data) == 1:
                try:
                    width = self._embedder.space.dimensions
                    array = validate_vectors([data[0].get("embedding")], count=1, width=width, provider="openai")
                except ProviderAnswerInvalid:
                    continue
                yield str(answer["custom_id"]), array[0].astype("<f4").tobytes()

    def _translate_faults(self) -> AbstractContextManager[None]:
        return provider_faults(openai_sdk(), "openai", self._embedder.key)


def _batch_state(batch: Any) -> BatchState:
    errors = getattr(batch.errors, "data", None) or []
    told = "; ".join(str(error.message) for error in errors)[:300]
    return BatchState(batch.id, batch.status, batch.output_file_id, told or None)
