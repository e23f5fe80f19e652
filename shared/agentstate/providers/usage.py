"""Usage of providers: the default models with their prices, and the counter of calls, texts and tokens."""

from __future__ import annotations

from typing import Final, Protocol

ANTHROPIC_SUMMARY_MODEL: Final = "claude-haiku-5-5"
OPENAI_SUMMARY_MODEL: Final = "gpt-6-luna"

NANO_USD_PER_TOKEN: Final = {
    "claude-haiku-5-5": (100, 500),
    "claude-sonnet-5-5": (2_000, 10_000),
    "claude-opus-5-5": (4_000, 20_000),
    "claude-haiku-4-5": (1_000, 5_000),
    "gpt-6-luna": (100, 500),
    "gpt-5.6-luna": (200, 1_200),
}
"""Prices of an input and an output token in billionths of a US dollar, as published for prompts up to 100,000 tokens in
November 2026. What is not listed costs an unknown amount, which is not 0."""


def cost_nano_usd(model: str, input_tokens: int, output_tokens: int) -> int | None:
    """Return the cost of a call in billionths of a US dollar, None for a model without a listed price."""
    if model not in NANO_USD_PER_TOKEN:
        return None
    per_input, per_output = NANO_USD_PER_TOKEN[model]
    return input_tokens * per_input + output_tokens * per_output


CALLS: Final = "calls"
"""Requests that were sent."""
FAILURES: Final = "failures"
"""Requests without a usable answer."""
TEXTS: Final = "texts"
"""Texts that came back as vectors."""
TOKENS: Final = "tokens"
"""Tokens charged, as reported by the provider; 0 where it reports none."""


class UsageCounter(Protocol):
    """Records usage; must not block."""

    def __call__(self, asked: str, part: str, number: int = 1) -> None:
        """Add `number` of a `part` for `asked`: provider and model, such as `openai:text-embedding-3-small`."""


def ignore_usage(asked: str, part: str, number: int = 1) -> None:
    """Do nothing."""
    del asked, part, number
