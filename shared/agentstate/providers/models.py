"""Names of the models used when settings name none; the one place to change them."""

from __future__ import annotations

from typing import Final

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
    """What a call cost in billionths of a US dollar, None for a model without a listed price."""
    if model not in NANO_USD_PER_TOKEN:
        return None
    per_input, per_output = NANO_USD_PER_TOKEN[model]
    return input_tokens * per_input + output_tokens * per_output
