"""Names of the models used when settings name none; the one place to change them."""

from __future__ import annotations

from typing import Final

ANTHROPIC_SUMMARY_MODEL: Final = "claude-haiku-5-5"
OPENAI_SUMMARY_MODEL: Final = "gpt-6-luna"
