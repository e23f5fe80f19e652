"""Embedders: text in, one vector per text out, all in one named vector space; and the one that has no vectors.

Vectors of different spaces must never meet in one collection, so the space is a value with a collection
name of its own, and every answer passes through `validate_vectors` before it is stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from agentstate.errors import InvalidInput, ProviderAnswerInvalid, ProviderRefused

if TYPE_CHECKING:
    from agentstate.providers.embedding.bert import Floats

COLLECTION_PREFIX: Final = "memories"
_MAX_COLLECTION_CHARS: Final = 120
_UNSAFE: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A space in which vectors are comparable: provider, model, width, and revision of the model."""

    provider: str
    model: str
    dimensions: int
    revision: str = ""

    @property
    def collection(self) -> str:
        """Collection name of this space: lower-case letters, digits and hyphens, unique to the space."""
        parts = (self.provider, self.model, str(self.dimensions), self.revision)
        plain = "-".join(part for part in parts if part)
        name = f"{COLLECTION_PREFIX}-{_UNSAFE.sub('-', plain.lower()).strip('-')}"
        if name.removeprefix(f"{COLLECTION_PREFIX}-") == plain and len(name) <= _MAX_COLLECTION_CHARS:
            return name
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
        return f"{name[: _MAX_COLLECTION_CHARS - 9]}-{digest}"


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """The provider in use, and the reason, for `agentstate status` and `agentstate doctor`."""

    name: str
    text: str
    ok: bool = True
    """False when something better was configured or expected than what is in use."""


class Embedder(Protocol):
    """Turns texts into vectors of one space."""

    @property
    def semantic(self) -> bool:
        """Whether the vectors carry meaning; False: there are none, and only keyword search is possible."""
        ...

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        ...

    @property
    def max_inputs(self) -> int:
        """Texts in one provider call at most."""
        ...

    @property
    def parallel(self) -> int:
        """Calls that one process should make at once: several where they wait, one where they compute."""
        ...

    @property
    def max_tokens_per_call(self) -> int:
        """Estimated tokens (see `tokens.estimate_tokens`) in one provider call at most."""
        ...

    @property
    def max_tokens_per_text(self) -> int:
        """Estimated tokens of one text that are embedded; the rest of a longer text is left out."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of texts to be found, float32 `[len(texts), space.dimensions]`, in the order given.

        More texts than one provider call holds are sent in several calls.

        Raises:
            InvalidInput: a text is blank.
            ProviderError: see `agentstate.errors`; no vector of this call may be stored.
        """
        ...

    def embed_query(self, text: str) -> Floats:
        """Return the vector of a text to search with, float32 `[space.dimensions]`; raises as `embed_documents`."""
        ...

    def describe(self) -> ProviderStatus:
        """Return the name of this embedder and the reason for its choice."""
        ...

    def close(self) -> None:
        """Close the connections; the embedder may be used again afterwards."""
        ...


def validate_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return the texts if none of them is blank.

    Raises:
        InvalidInput: names the position of a blank text.
    """
    for position, text in enumerate(texts):
        if not text.strip():
            raise InvalidInput(f"text {position} of {len(texts)} is blank: a vector of nothing would match anything.")
    return texts


def validate_vectors(vectors: Floats | Sequence[Sequence[float]], *, count: int, width: int, provider: str) -> Floats:
    """Return the answer of a provider as float32 `[count, width]`.

    Raises:
        ProviderAnswerInvalid: the number of vectors, their width or a value is wrong.
    """
    from agentstate.providers.embedding.tensors import np

    if len(vectors) != count:
        raise ProviderAnswerInvalid(f"{provider} answered {len(vectors)} vectors for {count} texts; none was stored.")
    widths = {len(vector) for vector in vectors}
    if widths - {width}:
        wrong = min(widths - {width})
        raise ProviderAnswerInvalid(
            f"{provider} answered a vector of width {wrong} instead of {width}; none was stored."
        )
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(vectors, dtype=np.float32).reshape(count, width)
    except (TypeError, ValueError, OverflowError) as error:
        raise ProviderAnswerInvalid(f"{provider} answered vectors that are no numbers; none was stored.") from error
    sound = np.isfinite(array).all(axis=1) & array.any(axis=1)
    if not sound.all():
        position = int(np.argmin(sound))
        raise ProviderAnswerInvalid(
            f"{provider} answered a vector of zeros or non-numbers for text {position}; none was stored."
        )
    return array


class LexicalEmbedder:
    """The absence of an embedder: `semantic` is False, every embed call refuses, and search goes by keywords alone.

    Hashed words would look like vectors and carry no meaning; they make fused search worse.
    """

    semantic = False
    space = VectorSpace("lexical", "", 0)
    max_inputs = 1
    parallel = 1
    max_tokens_per_call = 1
    max_tokens_per_text = 1

    def __init__(self, *, note: str = "", ok: bool = True) -> None:
        text = "no semantic embedder: keyword search only"
        self._status = ProviderStatus("lexical", f"lexical: {note}; {text}" if note else f"lexical: {text}", ok=ok)

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Refuse; check `semantic` first."""
        raise ProviderRefused(
            f"{len(texts)} text(s) were not embedded: {self._status.text}. They are kept and found by keywords; "
            "install the MiniLM model files or configure an embedding provider."
        )

    def embed_query(self, text: str) -> Floats:
        """Refuse; check `semantic` first."""
        return self.embed_documents([text])

    def describe(self) -> ProviderStatus:
        """See `Embedder.describe`."""
        return self._status

    def close(self) -> None:
        """Do nothing: there are no connections."""
