"""Embeddings by OpenAI's batch API: a file of texts now, their vectors within a day, at half the price.

A batch carries an id of ours, so that one whose answer was lost is found again instead of being paid twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    """Where a batch stands at the provider."""

    id: str
    status: str
    output_file: str | None = None
    error: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _ENDED


class OpenAIBatches:
    """The batch API with an embedder's model, client and key. Raises `ProviderError`s as that does."""

    def __init__(self, embedder: OpenAIEmbedder) -> None:
        self._embedder = embedder

    def submit_batch(self, our_id: str, texts: Mapping[str, str]) -> BatchState:
        """Hand in texts by key, `MOST_TEXTS` at most; handed in before under `our_id`, that batch is returned."""
        with self._faults():
            return self._find(our_id) or self._submit(our_id, texts)

    def fetch_batch(self, batch_id: str) -> BatchState:
        """Where a batch stands."""
        with self._faults():
            return _state(self._client.batches.retrieve(batch_id))

    def fetch_vectors(self, batch: BatchState) -> Iterator[tuple[str, bytes]]:
        """(key, vector as float32 bytes) of each text that was embedded well; the others are left out."""
        if batch.output_file is None:
            return
        with self._faults():
            lines = self._client.files.content(batch.output_file).text.splitlines()
        for line in filter(None, lines):
            answer = json.loads(line)
            vector = _vector_of(answer)
            if vector is not None:
                try:
                    width = self._embedder.space.dimensions
                    array = validate_vectors([vector], count=1, width=width, provider="openai")
                except ProviderAnswerInvalid:
                    continue
                yield str(answer["custom_id"]), array[0].astype("<f4").tobytes()

    @property
    def _client(self) -> Any:
        return self._embedder.client

    def _faults(self) -> Any:
        return provider_faults(openai_sdk(), "openai", self._embedder.key)

    def _find(self, our_id: str) -> BatchState | None:
        for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get(_OUR_ID) == our_id:
                return _state(batch)
        return None

    def _submit(self, our_id: str, texts: Mapping[str, str]) -> BatchState:
        limit = self._embedder.max_tokens_per_text
        lines = [self._line(key, fit_tokens(text, limit)) for key, text in texts.items()]
        file = ("texts.jsonl", "\n".join(lines).encode(), "application/jsonl")
        uploaded = self._client.files.create(file=file, purpose="batch")
        batch = self._client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/embeddings",
            completion_window="24h",
            metadata={_OUR_ID: our_id},
        )
        return _state(batch)

    def _line(self, key: str, text: str) -> str:
        body = {"input": text, "encoding_format": "float", **self._embedder.request_options}
        return json.dumps({"custom_id": key, "method": "POST", "url": "/v1/embeddings", "body": body})


def _state(batch: Any) -> BatchState:
    errors = getattr(batch.errors, "data", None) or []
    told = "; ".join(str(error.message) for error in errors)[:300]
    return BatchState(batch.id, batch.status, batch.output_file_id, told or None)


def _vector_of(answer: Mapping[str, Any]) -> list[float] | None:
    response = answer.get("response") or {}
    data = (response.get("body") or {}).get("data") or []
    return data[0].get("embedding") if response.get("status_code") == _OK and len(data) == 1 else None
