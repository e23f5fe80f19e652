"""Allocation of tokens to slots: minimums first, then by priority."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from agentstate.memory.context.headings import SEPARATOR_TOKENS, format_cut_mark, format_heading
from agentstate.memory.context.plan import Fate, PlannedSlot
from agentstate.memory.context.slot import Slot
from agentstate.memory.context.truncation import truncate_content
from agentstate.providers.tokens import TokenCounter


@dataclass(frozen=True, slots=True)
class TokenCosts:
    """Token costs of the parts of a context; the whole never costs more than their sum."""

    counter: TokenCounter

    def line_cost(self, text: str) -> int:
        """Return the tokens of `text` on a line of its own, separator included."""
        return self.counter.count(text) + SEPARATOR_TOKENS

    def slot_cost(self, slot: Slot) -> int:
        """Return the tokens of a whole slot with its heading; 0 when it has no content."""
        return (
            self.line_cost(format_heading(slot.name)) + self.counter.count(slot.body)
            if slot.body and not slot.body.isspace()
            else 0
        )


def allocate_slots(slots: Iterable[Slot], room: int, now: datetime, sizes: TokenCosts) -> list[PlannedSlot]:
    """Allocate `room` tokens to the slots, minimums first and then by priority; keep their order."""
    given = list(slots)
    wanted = {slot.name: sizes.slot_cost(slot) for slot in given}
    placed = {slot.name: early for slot in given if (early := _unplaceable(slot, wanted[slot.name], now))}
    ranked = sorted((slot for slot in given if slot.name not in placed), key=lambda slot: -slot.priority)
    floors = _reserve_minimums(ranked, wanted, room)
    left = room - sum(floors.values())
    for slot in ranked:
        if slot.name not in floors:
            reason = f"no room for its minimum of {slot.min_tokens:,} tokens"
            placed[slot.name] = _plan_slot(slot, Fate.LEFT_OUT, wanted[slot.name], now, reason=reason)
            continue
        available = left + floors[slot.name]
        placed[slot.name] = _place_slot(slot, wanted[slot.name], available, now, sizes)
        left = available - placed[slot.name].tokens
    return [placed[slot.name] for slot in given]


def _unplaceable(slot: Slot, wanted: int, now: datetime) -> PlannedSlot | None:
    if not wanted:
        return _plan_slot(slot, Fate.EMPTY, 0, now)
    if slot.is_stale(now):
        reason = f"{slot.age_s(now):.0f} s old, limit {slot.fresh_for_s:g} s"
        return _plan_slot(slot, Fate.STALE, wanted, now, reason=reason)
    return None


def _reserve_minimums(ranked: Iterable[Slot], wanted: dict[str, int], room: int) -> dict[str, int]:
    """Return the minimum set aside for each slot; slots without room for it have no entry."""
    floors: dict[str, int] = {}
    for slot in ranked:
        floor = min(slot.min_tokens, wanted[slot.name])
        if sum(floors.values()) + floor <= room:
            floors[slot.name] = floor
    return floors


def _place_slot(slot: Slot, wanted: int, available: int, now: datetime, sizes: TokenCosts) -> PlannedSlot:
    most = available if slot.max_tokens is None else min(available, slot.max_tokens)
    if wanted <= most:
        text = f"{format_heading(slot.name)}\n{slot.body}"
        return _plan_slot(slot, Fate.WHOLE, wanted, now, tokens=wanted, text=text)
    why = f"{most:,} tokens are left for it" if most == available else f"its maximum is {most:,} tokens"
    if slot.whole:
        return _plan_slot(slot, Fate.LEFT_OUT, wanted, now, reason=f"{why}, and it is not to be cut")
    cut = _cut(slot, most, sizes)
    if cut is None:
        return _plan_slot(slot, Fate.LEFT_OUT, wanted, now, reason=f"{why}, too few for any part of it")
    text, tokens, missing = cut
    return _plan_slot(slot, Fate.CUT, wanted, now, tokens=tokens, text=text, reason=f"{why}; {missing}")


def _cut(slot: Slot, most: int, sizes: TokenCosts) -> tuple[str, int, str] | None:
    """Cut a slot to `most` tokens; return its text, its tokens, and a note of the missing part."""
    content = slot.body if slot.entries is None else slot.entries
    # The longest mark there can be, so that what is counted is not below what is written.
    longest = f"{len(slot.body):,} of {len(slot.body):,} characters are left out here"
    frame = sizes.line_cost(format_heading(slot.name)) + sizes.line_cost(format_cut_mark(slot.name, longest))
    piece = truncate_content(content, most - frame, sizes.counter.count, slot.keep)
    if piece is None:
        return None
    mark = format_cut_mark(slot.name, piece.missing)
    lines = [piece.text, mark] if slot.keep == "start" else [mark, piece.text]
    return "\n".join([format_heading(slot.name), *lines]), frame + sizes.counter.count(piece.text), piece.missing


def _plan_slot(
    slot: Slot, fate: Fate, wanted: int, now: datetime, *, tokens: int = 0, text: str = "", reason: str = ""
) -> PlannedSlot:
    return PlannedSlot(
        name=slot.name, priority=slot.priority, fate=fate, wanted=wanted, tokens=tokens, text=text, reason=reason,
        age_s=slot.age_s(now),
    )  # fmt: skip
