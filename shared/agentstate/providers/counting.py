"""What a provider is counted by: calls, calls that failed, texts and the tokens that it charged for."""

from __future__ import annotations

from typing import Final, Protocol

CALLS: Final = "calls"
"""Requests that were sent."""
FAILURES: Final = "failures"
"""Of these the ones that brought no answer that could be used."""
TEXTS: Final = "texts"
"""Texts that came back as vectors."""
TOKENS: Final = "tokens"
"""As the provider itself told them; nothing where it does not."""


class UsageCounter(Protocol):
    """Counts; must not wait."""

    def __call__(self, asked: str, part: str, number: int = 1) -> None:
        """Add `number` of a `part` for `asked`, provider and model as `openai:text-embedding-3-small`."""


def ignore_usage(asked: str, part: str, number: int = 1) -> None:
    """Count nothing."""
    del asked, part, number
