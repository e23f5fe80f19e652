"""The provider's own count of a final prompt: one request, for the moment before an answer is paid for.

Estimates and vocabularies count text; only the provider knows what frames, tools and pictures take. Both providers call
their number an estimate too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentstate.errors import ConfigurationError, ProviderAnswerInvalid
from agentstate.providers.clients import anthropic_client, anthropic_sdk, openai_client, openai_sdk
from agentstate.providers.faults import provider_faults
from agentstate.providers.tokens.families import Family, family_of
from agentstate.settings import Settings

_CLAUDE = (Family.CLAUDE, Family.CLAUDE_OLDER)


def count_prompt(
    settings: Settings, model: str, messages: Sequence[Mapping[str, Any]], *, system: str | None = None
) -> int:
    """Tokens of a prompt as the provider of `model` counts them, over the network.

    Args:
        settings: with the key of the provider, or the base URL of a server of one's own.
        model: a name of Anthropic's, or one of OpenAI's.
        messages: as `ConversationHistory.messages` gives them in the form of that provider.
        system: the system prompt.

    Raises:
        ConfigurationError: no key and no base URL is set, or the package is not installed.
        ProviderError: it did not answer, or not with a number.
    """
    answer: object
    given: dict[str, Any] = {"model": model}
    if family_of(model) in _CLAUDE and "claude" in model:
        key = settings.anthropic_api_key
        if key is None and settings.anthropic_base_url is None:
            raise ConfigurationError("counting by Anthropic needs AGENTSTATE_ANTHROPIC_API_KEY.")
        claude = anthropic_client(settings.anthropic_base_url, key, settings.provider_timeout_s)
        given |= {"messages": messages} | ({"system": system} if system else {})
        with claude, provider_faults(anthropic_sdk(), "anthropic", key):
            answer = claude.messages.count_tokens(**given)
    else:
        key = settings.openai_api_key
        if key is None and settings.openai_base_url is None:
            raise ConfigurationError("counting by OpenAI needs AGENTSTATE_OPENAI_API_KEY.")
        client = openai_client(settings.openai_base_url, key, settings.provider_timeout_s)
        given |= {"input": messages} | ({"instructions": system} if system else {})
        with client, provider_faults(openai_sdk(), "openai", key):
            answer = client.responses.input_tokens.count(**given)
    tokens = getattr(answer, "input_tokens", None)
    if not isinstance(tokens, int):
        raise ProviderAnswerInvalid(f"the provider of {model} answered no number of tokens.")
    return tokens
