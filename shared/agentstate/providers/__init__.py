"""Providers of embeddings, summaries and token counts.

Embedders and summarizers behind two small protocols, chosen by settings. Heavy clients and model weights
are loaded at the first use, never at import.
"""

from agentstate.providers.choose import choose_embedder, choose_summarizer
from agentstate.providers.embedding.embedder import Embedder, ProviderStatus, VectorSpace
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.evidence import find_unsupported_figures
from agentstate.providers.summaries.summarizer import Fact, SourceTurn, Summarizer, Summary, SummaryRequest
from agentstate.providers.tokens import estimate_tokens, pack_texts

__all__ = [
    "DigestSummarizer",
    "Embedder",
    "Fact",
    "ProviderStatus",
    "SourceTurn",
    "Summarizer",
    "Summary",
    "SummaryRequest",
    "VectorSpace",
    "choose_embedder",
    "choose_summarizer",
    "estimate_tokens",
    "find_unsupported_figures",
    "pack_texts",
]
