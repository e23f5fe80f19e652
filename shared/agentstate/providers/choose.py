"""Which embedder and which summarizer, by settings: the best that is configured and works, and why.

`auto` goes down a list and says what it passed over; a provider named explicitly is used or refused,
never replaced by another.
"""

from __future__ import annotations

from agentstate.errors import ConfigurationError
from agentstate.providers.embedding.embedder import Embedder, LexicalEmbedder
from agentstate.providers.embedding.minilm import MiniLmEmbedder, find_model
from agentstate.providers.embedding.openai_embedder import OpenAIEmbedder
from agentstate.providers.summaries.anthropic_summarizer import AnthropicChat
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.gate import GatedSummarizer
from agentstate.providers.summaries.model_summarizer import ChatModel, ModelSummarizer
from agentstate.providers.summaries.openai_summarizer import OpenAIChat
from agentstate.providers.usage import ANTHROPIC_SUMMARY_MODEL, OPENAI_SUMMARY_MODEL, UsageCounter, ignore_usage
from agentstate.settings import Settings


def choose_embedder(settings: Settings, *, count: UsageCounter = ignore_usage) -> Embedder:
    """Return the embedder that `settings` name; provider calls are counted. Loads no model and opens no connection.

    Raises:
        ConfigurationError: the embedder that the settings name cannot be used; says what to do.
    """
    if settings.embedder == "openai":
        return _openai_embedder(settings, count)
    if settings.embedder == "minilm":
        return MiniLmEmbedder(settings.minilm_dir)
    if settings.embedder == "lexical":
        return LexicalEmbedder(note="chosen by AGENTSTATE_EMBEDDER")
    # Nothing is chosen: OpenAI if it is configured, else MiniLM if its files are here, else the lexical one.
    passed_over = ""
    if _has_openai(settings):
        try:
            return _openai_embedder(settings, count)
        except ConfigurationError as error:
            passed_over = error.message
    if settings.minilm_dir is not None or find_model() is not None:
        try:
            return MiniLmEmbedder(settings.minilm_dir, note=passed_over)
        except ConfigurationError as error:
            passed_over = "; ".join(filter(None, (passed_over, error.message)))
    return LexicalEmbedder(note=passed_over or "model files not found", ok=False)


def choose_summarizer(settings: Settings) -> GatedSummarizer | DigestSummarizer:
    """Return the summarizer that `settings` name, behind the gate when it is a model. Opens no connection.

    Raises:
        ConfigurationError: the summarizer that the settings name cannot be used; says what to do.
    """
    if settings.summarizer == "digest":
        return DigestSummarizer(note="chosen by AGENTSTATE_SUMMARIZER")
    if settings.summarizer == "anthropic":
        return _gate_chat(_anthropic_chat(settings))
    if settings.summarizer == "openai":
        return _gate_chat(_openai_chat(settings))
    # None is chosen: a model if its provider is configured, else the digest.
    has_anthropic = settings.anthropic_api_key is not None
    if not has_anthropic and (settings.summary_model is None or not _has_openai(settings)):
        return DigestSummarizer(note="no language model configured")
    try:
        return _gate_chat(_anthropic_chat(settings) if has_anthropic else _openai_chat(settings))
    except ConfigurationError as error:
        return DigestSummarizer(note=error.message, ok=False)


def _has_openai(settings: Settings) -> bool:
    return settings.openai_api_key is not None or settings.openai_base_url is not None


def _openai_embedder(settings: Settings, count: UsageCounter) -> OpenAIEmbedder:
    _require_openai(settings, "EMBEDDER")
    return OpenAIEmbedder(
        model=settings.embedding_model,
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key,
        dimensions=settings.embedding_dimensions,
        max_inputs=settings.embedding_batch,
        timeout_s=settings.provider_timeout_s,
        count=count,
    )


def _openai_chat(settings: Settings) -> OpenAIChat:
    _require_openai(settings, "SUMMARIZER")
    return OpenAIChat(
        api_key=settings.openai_api_key,
        model=settings.summary_model or OPENAI_SUMMARY_MODEL,
        base_url=settings.openai_base_url,
        timeout_s=settings.provider_timeout_s,
    )


def _anthropic_chat(settings: Settings) -> AnthropicChat:
    if settings.anthropic_api_key is None and settings.anthropic_base_url is None:
        raise ConfigurationError(
            "AGENTSTATE_SUMMARIZER=anthropic needs AGENTSTATE_ANTHROPIC_API_KEY, or "
            "AGENTSTATE_ANTHROPIC_BASE_URL of a server of your own."
        )
    return AnthropicChat(
        api_key=settings.anthropic_api_key,
        model=settings.summary_model or ANTHROPIC_SUMMARY_MODEL,
        base_url=settings.anthropic_base_url,
        timeout_s=settings.provider_timeout_s,
    )


def _require_openai(settings: Settings, setting: str) -> None:
    if not _has_openai(settings):
        raise ConfigurationError(
            f"AGENTSTATE_{setting}=openai needs AGENTSTATE_OPENAI_API_KEY, or AGENTSTATE_OPENAI_BASE_URL "
            "of a server of your own."
        )


def _gate_chat(chat: ChatModel) -> GatedSummarizer:
    return GatedSummarizer(ModelSummarizer(chat))
