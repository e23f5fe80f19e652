"""Truncation of a slot's content to whole lines, sentences or entries, with a note of the missing part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agentstate.memory.context.split_points import SplitPoint, find_json_members, find_split_points

Keep: TypeAlias = Literal["start", "end"]
"""Which end of a content stays when it is cut."""
Cost: TypeAlias = Callable[[str], int]
Members: TypeAlias = tuple[Sequence[tuple[int, int]], str]

_MOST_CHARS_PER_TOKEN: Final = 16
"""No text that is worth its room has more; farther ahead no place to cut is looked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The kept part of a content."""

    text: str
    missing: str
    """Note of the part that was cut; empty for none."""


def truncate_content(content: str | Sequence[str], room: int, cost: Cost, keep: Keep) -> Piece | None:
    """Return the longest part of `content` that costs `room` at most, None when no part does.

    Args:
        content: a text, or entries of which each stays whole.
        room: tokens.
        cost: tokens of a text; a shorter one costs no more.
        keep: which end stays.
    """
    if room < 1:
        return None
    if not isinstance(content, str):
        return _fit_entries(content, room, cost, keep)
    if (members := find_json_members(content)) is not None:
        return _fit_members(content, members, room, cost, keep)
    return _fit_text(content, room, cost, keep)


def _fit_entries(entries: Sequence[str], room: int, cost: Cost, keep: Keep) -> Piece | None:
    def made(count: int) -> str:
        return "\n".join(entries[:count] if keep == "start" else entries[-count:])

    count = _count_fitting(len(entries), lambda number: cost(made(number)) <= room)
    return Piece(made(count), _describe_missing(len(entries) - count, len(entries), "entries")) if count else None


def _fit_members(text: str, found: Members, room: int, cost: Cost, keep: Keep) -> Piece | None:
    """An array or object with fewer members is one again."""
    members, closing = found

    def made(count: int) -> str:
        if keep == "start":
            return f"{text[: members[count - 1][1]]}{closing}"
        return f"{text[: text.index(text.strip()[0]) + 1]}{text[members[-count][0] :]}"

    count = _count_fitting(len(members), lambda number: cost(made(number)) <= room)
    return Piece(made(count), _describe_missing(len(members) - count, len(members), "entries")) if count else None


def _fit_text(text: str, room: int, cost: Cost, keep: Keep) -> Piece | None:
    reach = max(0, room) * _MOST_CHARS_PER_TOKEN
    window = (0, min(reach, len(text))) if keep == "start" else (max(0, len(text) - reach), len(text))
    for found in find_split_points(text, *window):
        part = _longest(text, found, room, cost, keep)
        if part.strip():
            return Piece(part, _describe_missing(len(text) - len(part), len(text), "characters"))
    return None


def _longest(text: str, found: Sequence[SplitPoint], room: int, cost: Cost, keep: Keep) -> str:
    places = [cut.end for cut in found] if keep == "start" else [cut.begin for cut in reversed(found)]

    def part(count: int) -> str:
        return text[: places[count - 1]] if keep == "start" else text[places[count - 1] :]

    count = _count_fitting(len(places), lambda number: cost(part(number)) <= room)
    return part(count) if count else ""


def _count_fitting(count: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from 1 to `count` that fits, 0 when none does, by bisection."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _describe_missing(left: int, whole: int, unit: str) -> str:
    return f"{left:,} of {whole:,} {unit} are left out here" if left else ""
