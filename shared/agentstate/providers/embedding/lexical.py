"""No embedder: nothing here makes vectors, and search goes by keywords alone.

Hashed words would look like vectors and carry no meaning; they make fused search worse. So this says openly
that there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from agentstate.errors import ProviderRefused
from agentstate.providers.embedding.embedder import ProviderStatus, VectorSpace

if TYPE_CHECKING:
    from agentstate.providers.embedding.bert import Floats

STATUS: Final = "no semantic embedder: keyword search only"


class LexicalEmbedder:
    """Stands where an embedder would; `semantic` is False and every embed call refuses."""

    semantic = False
    space = VectorSpace("lexical", "", 0)
    max_inputs = 1
    parallel = 1
    max_tokens_per_call = 1
    max_tokens_per_text = 1

    def __init__(self, *, note: str = "", ok: bool = True) -> None:
        self._status = ProviderStatus("lexical", f"lexical: {note}; {STATUS}" if note else f"lexical: {STATUS}", ok=ok)

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Refuse; check `semantic` first."""
        self._refuse(len(texts))

    def embed_query(self, text: str) -> Floats:
        """Refuse; check `semantic` first."""
        self._refuse(1)

    def describe(self) -> ProviderStatus:
        """See `Embedder.describe`."""
        return self._status

    def close(self) -> None:
        """Nothing to give back."""

    def _refuse(self, count: int) -> NoReturn:
        raise ProviderRefused(
            f"{count} text(s) were not embedded: {self._status.text}. They are kept and found by keywords; "
            "install the MiniLM model files or configure an embedding provider."
        )
