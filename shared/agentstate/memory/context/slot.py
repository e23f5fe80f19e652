"""A slot of a context: its content, priority, token limits and freshness."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from agentstate.errors import InvalidInput
from agentstate.ids import validate_name
from agentstate.memory.context.headings import escape_headings
from agentstate.memory.context.truncation import Keep
from agentstate.providers.tokens.counting import CachedByText

Renderer: TypeAlias = Callable[[Any], str | Sequence[str]]
"""Turns a content into a text, or into entries of which each stays whole."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One slot; see `ContextBudget.set` for its fields."""

    name: str
    content: Any
    priority: int = 5
    min_tokens: int = 0
    max_tokens: int | None = None
    as_of: datetime | None = None
    fresh_for_s: float | None = None
    renderer: Renderer | None = None
    keep: Keep = "start"
    whole: bool = False
    body: str = field(init=False)
    """The uncut content as rendered."""
    entries: tuple[str, ...] | None = field(init=False)
    """The parts that stay whole when it is cut, None when it is one text."""

    def __post_init__(self) -> None:
        validate_name(self.name, "slot")
        most = self.max_tokens
        if self.min_tokens < 0 or (most is not None and most < max(1, self.min_tokens)):
            raise InvalidInput(
                f"slot {self.name}: min_tokens is {self.min_tokens} and max_tokens {most}; "
                "0 <= min_tokens <= max_tokens is asked for."
            )
        if self.fresh_for_s is not None and (self.fresh_for_s <= 0 or self.as_of is None):
            raise InvalidInput(f"slot {self.name}: fresh_for_s needs to be above 0, and needs as_of to count from.")
        if self.keep not in {"start", "end"}:
            raise InvalidInput(f"slot {self.name}: keep is {self.keep!r}; use 'start' or 'end'.")
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise InvalidInput(f"slot {self.name}: as_of has no time zone; give UTC.")
        rendered = (self.renderer or render_plainly)(self.content)
        if isinstance(rendered, str):
            body, entries = _escape_content(self.name, rendered), None
        else:
            entries = tuple(_escape_content(self.name, entry) for entry in rendered)
            body = "\n".join(entries)
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "body", body)

    def age_s(self, now: datetime) -> float | None:
        """Return the seconds since `as_of`, None without it."""
        return None if self.as_of is None else (now - self.as_of).total_seconds()

    def is_stale(self, now: datetime) -> bool:
        """Return whether the content is older than `fresh_for_s`."""
        age = self.age_s(now)
        return age is not None and self.fresh_for_s is not None and age > self.fresh_for_s


def render_plainly(content: Any) -> str | Sequence[str]:
    """Return text unchanged, a list of texts as entries, None as empty text, and other values as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple) and all(isinstance(entry, str) for entry in content):
        return content
    return json.dumps(content, ensure_ascii=False, default=str)


def _escape_content(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"slot {name}: its renderer gave {type(text).__name__}, not text.")
    try:
        return _escape_cached(text)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"slot {name} has half a surrogate pair at character {error.start}; remove it.") from None


_escape_cached = CachedByText(escape_headings)
