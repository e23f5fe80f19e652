"""The provider's own count of a prompt, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentstate.errors import ConfigurationError, ProviderRateLimited, ProviderRefused
from agentstate.providers.tokens.prompt_counters import count_prompt
from agentstate.settings import Settings
from tests.stubs.provider_server import Fault, ProviderServer

MESSAGES = [{"role": "user", "content": "How much is left?"}]
MODELS = ("claude-haiku-5-5", "gpt-6-luna")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


def settings(**fields: Any) -> Settings:
    return Settings.load(database_url="sqlite:///unused.db", **fields)


def served(server: ProviderServer) -> Settings:
    return settings(anthropic_base_url=server.url, openai_base_url=f"{server.url}/v1")


@pytest.mark.parametrize("model", MODELS)
def test_the_provider_counts(server: ProviderServer, model: str) -> None:
    assert count_prompt(served(server), model, MESSAGES, system="Be brief.") > 10
    (seen,) = server.seen
    assert seen.body["model"] == model
    assert "Be brief." in str(seen.body)


@pytest.mark.parametrize("model", MODELS)
def test_its_failures_are_those_of_every_provider(server: ProviderServer, model: str) -> None:
    server.plan(Fault("status", 429, {"retry-after": "7"}))
    with pytest.raises(ProviderRateLimited) as caught:
        count_prompt(served(server), model, MESSAGES)
    assert caught.value.retry_after == 7
    with pytest.raises(ConfigurationError):
        count_prompt(settings(), model, MESSAGES)


def test_a_prompt_that_the_api_would_refuse_is_refused(server: ProviderServer) -> None:
    with pytest.raises(ProviderRefused, match="alternate"):
        count_prompt(served(server), MODELS[0], MESSAGES * 2)
