"""A plan: what went into a context, what was cut, what was left out, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentstate.memory.context.headings import SEPARATOR


class Fate(StrEnum):
    """What became of a slot."""

    WHOLE = "whole"
    CUT = "cut"
    LEFT_OUT = "left out"
    """There was no room."""
    STALE = "stale"
    """It was older than it may be."""
    EMPTY = "empty"
    """It has no content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSlot:
    """What became of one slot."""

    name: str
    priority: int
    fate: Fate
    wanted: int
    """Tokens of the whole slot with its heading."""
    tokens: int = 0
    """Tokens that it takes in the context."""
    reason: str = ""
    """Why it is not whole."""
    age_s: float | None = None
    text: str = ""
    """As it stands in the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A context and how it came about; the slots in the order of the text."""

    slots: tuple[PlannedSlot, ...]
    budget: int
    """Tokens that the text may have."""
    tokens: int
    """Tokens that it has, headings and separators included."""
    counter: str
    """Who counted."""
    note: str = ""
    """The line that names the slots that are not there."""

    @property
    def text(self) -> str:
        """The context."""
        parts = [slot.text for slot in self.slots if slot.text]
        return SEPARATOR.join([*parts, self.note] if self.note else parts)

    def __getitem__(self, name: str) -> PlannedSlot:
        """What became of the slot called `name`; raises KeyError."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise KeyError(name)

    def explain(self) -> str:
        """The plan for people, a line a slot."""
        head = f"{self.tokens:,} of {self.budget:,} tokens ({self.counter})"
        return "\n".join([head, *(_line(slot) for slot in self.slots)])


def _line(slot: PlannedSlot) -> str:
    age = "" if slot.age_s is None else f", {slot.age_s:.0f} s old"
    why = f": {slot.reason}" if slot.reason else ""
    return f"  {slot.name} (priority {slot.priority}{age}) {slot.fate}, {slot.tokens:,} of {slot.wanted:,} tokens{why}"
