"""The plan of a context: the slots that were included, cut or left out, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentstate.memory.context.headings import SEPARATOR


class Fate(StrEnum):
    """Treatment of a slot in a context."""

    WHOLE = "whole"
    CUT = "cut"
    LEFT_OUT = "left out"
    """No room was left."""
    STALE = "stale"
    """Older than its limit."""
    EMPTY = "empty"
    """No content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSlot:
    """Treatment of one slot, with its tokens."""

    name: str
    priority: int
    fate: Fate
    wanted: int
    """Tokens of the whole slot with its heading."""
    tokens: int = 0
    """Tokens used in the context."""
    reason: str = ""
    """Reason for a cut or an omission."""
    age_s: float | None = None
    text: str = ""
    """Text in the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A built context; the slots are in the order of the text."""

    slots: tuple[PlannedSlot, ...]
    budget: int
    """Largest number of tokens."""
    tokens: int
    """Tokens of the text, headings and separators included."""
    counter: str
    """Name of the token counter."""
    note: str = ""
    """Line that names the omitted slots."""

    @property
    def text(self) -> str:
        """The context."""
        parts = [slot.text for slot in self.slots if slot.text]
        return SEPARATOR.join([*parts, self.note] if self.note else parts)

    def __getitem__(self, name: str) -> PlannedSlot:
        """Return the slot called `name`; raise KeyError."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise KeyError(name)

    def explain(self) -> str:
        """Return the plan as text, one line per slot."""
        lines = [f"{self.tokens:,} of {self.budget:,} tokens ({self.counter})"]
        for slot in self.slots:
            age = "" if slot.age_s is None else f", {slot.age_s:.0f} s old"
            why = f": {slot.reason}" if slot.reason else ""
            used = f"{slot.tokens:,} of {slot.wanted:,} tokens{why}"
            lines.append(f"  {slot.name} (priority {slot.priority}{age}) {slot.fate}, {used}")
        return "\n".join(lines)
