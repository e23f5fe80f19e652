"""The token budget of a context: one text from slots, with a reason for each omission.

Room is given by priority: first every slot's minimum, then the rest. A slot that has to give way is cut between lines
or sentences and says so, and one that cannot be used in part leaves its room to the next. The budget holds for the text
as it stands, headings and separators included, in the tokens of the model it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from agentstate.clock import Clock, utc_now
from agentstate.errors import InvalidInput
from agentstate.memory.context.headings import SEPARATOR_TOKENS, format_cut_mark, format_heading, format_left_out_mark
from agentstate.memory.context.plan import Fate, Plan, PlannedSlot
from agentstate.memory.context.slot import Renderer, Slot
from agentstate.memory.context.truncation import Keep, truncate_content
from agentstate.providers.tokens import TokenCounter, counter_for

DEFAULT_MAX_TOKENS: Final = 180_000
DEFAULT_OUTPUT: Final = 4_096
_ROUNDS: Final = 8
"""Most attempts to make room for the line that names the omitted slots."""
_SPARE: Final = 6
"""Tokens by which that line may grow when it is made again."""


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


class ContextBudget:
    """Slots of working memory under one budget of tokens. For one thread."""

    def __init__(
        self,
        model: str | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        counter: TokenCounter | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """Create an empty context; do no I/O.

        Args:
            model: the model that will read it, by name; None counts for the family with the most tokens.
            max_tokens: tokens of the built text at most.
            counter: who counts; by default the estimator of the model's family.
            clock: against which freshness is judged.

        Raises:
            InvalidInput: `max_tokens` is no budget.
        """
        if max_tokens < 1:
            raise InvalidInput(f"max_tokens is {max_tokens}; it must be 1 or more.")
        self.max_tokens = max_tokens
        self._counter = counter or counter_for(model)
        self._clock = clock
        self._sizes = TokenCosts(self._counter)
        self._slots: dict[str, Slot] = {}

    def set(
        self,
        key: str,
        content: Any,
        priority: int = 5,
        *,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        as_of: datetime | None = None,
        fresh_for_s: float | None = None,
        renderer: Renderer | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Fill a slot; a slot keeps its place in the text when it is filled again.

        Args:
            key: the slot's name; its heading, in capitals.
            content: a text, a list of texts (entries of which each stays whole), or anything that JSON can show.
            priority: the higher, the later it is cut.
            min_tokens: it gets this much before others get more than their minimum, or is not there at all.
            max_tokens: ... and this much at most, heading included.
            as_of: when the content was true, aware.
            fresh_for_s: seconds after `as_of` from which it is stale: left out, and named.
            renderer: turns the content into a text or entries.
            keep: which end stays when it is cut: `start`, or `end` for what is in the order of time.
            whole: whole or not at all.

        Raises:
            InvalidInput: the name, the content or a number is refused; the slot stays as it was.
        """
        self._slots[key] = Slot(
            name=key, content=content, priority=priority, min_tokens=min_tokens, max_tokens=max_tokens, as_of=as_of,
            fresh_for_s=fresh_for_s, renderer=renderer, keep=keep, whole=whole,
        )  # fmt: skip
        return self

    def remove(self, key: str) -> Self:
        """Take a slot away, if it is there."""
        self._slots.pop(key, None)
        return self

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return self._counter.count(text)

    def total_tokens(self) -> int:
        """Return the tokens of all slots uncut, with headings and separators."""
        return sum(self._sizes.slot_cost(slot) for slot in self._slots.values())

    def build(self) -> str:
        """Build the context: every slot that fits, in the order in which they were first set."""
        return self.plan().text

    def build_context(self, reserve_for_output: int = DEFAULT_OUTPUT) -> str:
        """Build the context in `max_tokens` less `reserve_for_output`, the tokens of the model's answer."""
        return self.plan(reserve_for_output=reserve_for_output).text

    def plan(self, *, reserve_for_output: int = 0) -> Plan:
        """Plan the context; say for each slot whether it is whole, cut or left out, and why.

        Raises:
            InvalidInput: nothing of `max_tokens` is left beside `reserve_for_output`.
        """
        budget = self.max_tokens - reserve_for_output
        if reserve_for_output < 0 or budget < 1:
            raise InvalidInput(
                f"reserve_for_output is {reserve_for_output} and max_tokens {self.max_tokens}; "
                "it must be 0 or more, and leave room."
            )
        room, now = budget, self._clock()
        for attempt in range(_ROUNDS):
            plan = self._plan_within(budget, room, now, named=attempt < _ROUNDS - 1)
            excess = plan.tokens - budget
            if self._counter.exact and excess <= 0:
                # A vocabulary may merge less across parts than within them.
                excess = self._counter.count(plan.text) - budget
            if excess <= 0:
                return plan
            room -= excess + _SPARE
        return self._plan_within(budget, room, now, named=False)

    def _plan_within(self, budget: int, room: int, now: datetime, *, named: bool) -> Plan:
        slots = allocate_slots(self._slots.values(), room, now, self._sizes)
        missing = [slot for slot in slots if slot.fate in {Fate.STALE, Fate.LEFT_OUT}]
        note = format_left_out_mark([f"{slot.name} ({slot.reason})" for slot in missing]) if missing and named else ""
        tokens = sum(slot.tokens for slot in slots) + (self._sizes.line_cost(note) if note else 0)
        return Plan(slots=tuple(slots), budget=budget, tokens=tokens, counter=self._counter.name, note=note)


def allocate_slots(slots: Iterable[Slot], room: int, now: datetime, sizes: TokenCosts) -> list[PlannedSlot]:
    """Allocate `room` tokens to the slots, minimums first and then by priority; keep their order."""
    given = list(slots)
    wanted = {slot.name: sizes.slot_cost(slot) for slot in given}
    placed: dict[str, PlannedSlot] = {}
    for slot in given:
        if not wanted[slot.name]:
            placed[slot.name] = _plan_slot(slot, Fate.EMPTY, 0, now)
        elif slot.is_stale(now):
            reason = f"{slot.age_s(now):.0f} s old, limit {slot.fresh_for_s:g} s"
            placed[slot.name] = _plan_slot(slot, Fate.STALE, wanted[slot.name], now, reason=reason)
    ranked = sorted((slot for slot in given if slot.name not in placed), key=lambda slot: -slot.priority)
    # Set aside the minimum of each slot that has room for it.
    minimums: dict[str, int] = {}
    for slot in ranked:
        minimum = min(slot.min_tokens, wanted[slot.name])
        if sum(minimums.values()) + minimum <= room:
            minimums[slot.name] = minimum
    left = room - sum(minimums.values())
    for slot in ranked:
        if slot.name not in minimums:
            reason = f"no room for its minimum of {slot.min_tokens:,} tokens"
            placed[slot.name] = _plan_slot(slot, Fate.LEFT_OUT, wanted[slot.name], now, reason=reason)
            continue
        available = left + minimums[slot.name]
        placed[slot.name] = _place_slot(slot, wanted[slot.name], available, now, sizes)
        left = available - placed[slot.name].tokens
    return [placed[slot.name] for slot in given]


def _place_slot(slot: Slot, wanted: int, available: int, now: datetime, sizes: TokenCosts) -> PlannedSlot:
    most = available if slot.max_tokens is None else min(available, slot.max_tokens)
    if wanted <= most:
        text = f"{format_heading(slot.name)}\n{slot.body}"
        return _plan_slot(slot, Fate.WHOLE, wanted, now, tokens=wanted, text=text)
    why = f"{most:,} tokens are left for it" if most == available else f"its maximum is {most:,} tokens"
    if slot.whole:
        return _plan_slot(slot, Fate.LEFT_OUT, wanted, now, reason=f"{why}, and it is not to be cut")
    content = slot.body if slot.entries is None else slot.entries
    # The longest mark there can be, so that what is counted is not below what is written.
    longest = f"{len(slot.body):,} of {len(slot.body):,} characters are left out here"
    frame = sizes.line_cost(format_heading(slot.name)) + sizes.line_cost(format_cut_mark(slot.name, longest))
    piece = truncate_content(content, most - frame, sizes.counter.count, slot.keep)
    if piece is None:
        return _plan_slot(slot, Fate.LEFT_OUT, wanted, now, reason=f"{why}, too few for any part of it")
    mark = format_cut_mark(slot.name, piece.missing)
    lines = [piece.text, mark] if slot.keep == "start" else [mark, piece.text]
    text = "\n".join([format_heading(slot.name), *lines])
    tokens = frame + sizes.counter.count(piece.text)
    return _plan_slot(slot, Fate.CUT, wanted, now, tokens=tokens, text=text, reason=f"{why}; {piece.missing}")


def _plan_slot(
    slot: Slot, fate: Fate, wanted: int, now: datetime, *, tokens: int = 0, text: str = "", reason: str = ""
) -> PlannedSlot:
    return PlannedSlot(
        name=slot.name, priority=slot.priority, fate=fate, wanted=wanted, tokens=tokens, text=text, reason=reason,
        age_s=slot.age_s(now),
    )  # fmt: skip
