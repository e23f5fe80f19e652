"""Embeddings from any server that speaks OpenAI's `/v1/embeddings`: OpenAI, Ollama, vLLM, TEI, llama.cpp.

Such servers differ in what they ignore, so nothing is taken on trust: plain floats are asked for, answers are
put in order by their index, and count and width are checked before a vector leaves this module.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from agentstate.errors import ProviderAnswerInvalid, ProviderError, ProviderRefused
from agentstate.providers.clients import OPENAI_URL, PerProcessClient, openai_client, openai_sdk, strip_credentials
from agentstate.providers.embedding.embedder import ProviderStatus, VectorSpace, validate_texts, validate_vectors
from agentstate.providers.faults import provider_faults
from agentstate.providers.tokens import estimate_tokens, fit_tokens, pack_texts
from agentstate.providers.usage import CALLS, FAILURES, TEXTS, TOKENS, UsageCounter, ignore_usage

if TYPE_CHECKING:
    import openai

    from agentstate.providers.embedding.bert import Floats

KNOWN_WIDTHS: Final = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
_MAX_TOKENS_PER_CALL: Final = 250_000  # OpenAI refuses more than 300,000; the estimate may be a little low
_MAX_TOKENS_PER_TEXT: Final = 8_000  # OpenAI refuses more than 8,192

_MIN_QUERY_TOKENS: Final = 32
_REFUSED_REQUEST: Final = re.compile(r"answered (?:400|413|422):")
"""Of a request that is at fault itself, maybe too long; a wrong key or model has another status."""


class OpenAIEmbedder:
    """Embeds by HTTP with one client per process, no retries of its own, and a deadline per call.

    Args:
        model: model name sent to the server.
        base_url: endpoint with its `/v1`; None is OpenAI's own.
        api_key: key, None for servers that ask for none.
        dimensions: width to ask for; None takes the model's own, found out by one short call when unknown.
        max_inputs: texts in one call at most.
        timeout_s: deadline of one call, in seconds.
        note: why this embedder was chosen.
        count: is told of calls, failures, texts and tokens.
    """

    semantic = True
    max_tokens_per_call = _MAX_TOKENS_PER_CALL
    max_tokens_per_text = _MAX_TOKENS_PER_TEXT

    parallel = 4

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key: SecretStr | None = None,
        dimensions: int | None = None,
        max_inputs: int = 512,
        timeout_s: float = 30.0,
        note: str = "",
        count: UsageCounter = ignore_usage,
    ) -> None:
        openai_sdk()  # refuse at start, not at the first memory
        self.max_inputs = max_inputs
        self._model = model
        self._base_url = base_url
        self._key = api_key
        self._asked_dimensions = dimensions
        self._note = note
        self._own = (base_url or OPENAI_URL).rstrip("/") == OPENAI_URL
        self._provider = "openai" if self._own else "openai-compatible"
        self._count = partial(count, f"{self._provider}:{model}")
        self._clients = PerProcessClient(lambda: openai_client(base_url, api_key, timeout_s))
        self._width: int | None = dimensions or (KNOWN_WIDTHS.get(model) if self._own else None)
        self._probing = threading.Lock()

    @property
    def space(self) -> VectorSpace:
        """See `Embedder.space`; asks the server once when the model's width is unknown, and may raise."""
        return VectorSpace(self._provider, self._model, self._get_width())

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """See `Embedder.embed_documents`; of a text longer than the provider takes, the head is embedded."""
        from agentstate.providers.embedding.tensors import np

        width = self._get_width()
        fitting = [fit_tokens(text, self.max_tokens_per_text) for text in validate_texts(texts)]
        runs = pack_texts(fitting, max_inputs=self.max_inputs, max_tokens=self.max_tokens_per_call)
        answers = []
        for run in runs:
            part = [fitting[index] for index in run]
            with self._count_usage(len(part)):
                vectors = self._request_vectors(part)
                answers.append(validate_vectors(vectors, count=len(part), width=width, provider=self._provider))
        return np.concatenate([np.empty((0, width), np.float32), *answers])

    def embed_query(self, text: str) -> Floats:
        """See `Embedder.embed_query`; of a text that the provider refuses for its length, the head is embedded."""
        while True:
            try:
                vector: Floats = self.embed_documents([text])[0]
            except ProviderRefused as error:
                room = min(estimate_tokens(text), self.max_tokens_per_text) // 2
                if room < _MIN_QUERY_TOKENS or not _REFUSED_REQUEST.search(error.message):
                    raise
                text = fit_tokens(text, room)
            else:
                return vector

    def describe(self) -> ProviderStatus:
        """See `Embedder.describe`."""
        place = "OpenAI" if self._own else strip_credentials(str(self._base_url))
        text = f"openai: {self._model} at {place}"
        return ProviderStatus("openai", f"{text} ({self._note})" if self._note else text)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    @property
    def client(self) -> openai.OpenAI:
        """This process's client."""
        return self._clients.get()

    @property
    def key(self) -> SecretStr | None:
        """The key, to be kept out of errors."""
        return self._key

    @property
    def request_options(self) -> dict[str, Any]:
        """Model and width as every request has them."""
        width = {} if self._asked_dimensions is None else {"dimensions": self._asked_dimensions}
        return {"model": self._model, **width}

    def _get_width(self) -> int:
        with self._probing:
            if self._width is None:
                with self._count_usage(1):
                    vectors = self._request_vectors(["width"])
                    if len(vectors) != 1 or not vectors[0]:
                        raise ProviderAnswerInvalid(
                            f"{self._provider} answered no vector to the question how wide {self._model} is."
                        )
                self._width = len(vectors[0])
            return self._width

    @contextmanager
    def _count_usage(self, texts: int) -> Iterator[None]:
        self._count(CALLS)
        try:
            yield
        except ProviderError:
            self._count(FAILURES)
            raise
        self._count(TEXTS, texts)

    def _request_vectors(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of one call, in the order of the texts."""
        options = self.request_options if self._own else {**self.request_options, "encoding_format": "float"}
        with provider_faults(openai_sdk(), self._provider, self._key):
            # The answer as it came: the SDK would look at every single number, which takes longer than all the rest.
            raw = self.client.embeddings.with_raw_response.create(input=texts, **options)
            answer = json.loads(raw.content)
        # Tokens are counted also for an answer that is of no use: they were charged.
        usage = answer.get("usage") if isinstance(answer, dict) else None
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and tokens > 0:
            self._count(TOKENS, tokens)

        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(
            isinstance(item, dict)
            and isinstance(item.get("index"), int)
            and isinstance(item.get("embedding"), list | str)
            for item in data
        ):
            raise ProviderAnswerInvalid(f"{self._provider} answered no list of embeddings; nothing was stored.")
        if sorted(item["index"] for item in data) != list(range(len(data))):
            raise ProviderAnswerInvalid(
                f"{self._provider} numbered its {len(data)} vectors wrongly; nothing was stored."
            )
        vectors = []
        for item in sorted(data, key=lambda item: item["index"]):
            vector = item["embedding"]
            if isinstance(vector, str):  # OpenAI itself sends base64
                try:
                    packed = base64.b64decode(vector, validate=True)
                    vector = list(struct.unpack(f"<{len(packed) // 4}f", packed))
                except (ValueError, struct.error):
                    raise ProviderAnswerInvalid(
                        f"{self._provider} answered a vector that cannot be read; nothing was stored."
                    ) from None
            vectors.append(vector)
        return vectors
