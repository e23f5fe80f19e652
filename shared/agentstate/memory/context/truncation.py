"""Truncation of a slot's content to whole lines, sentences or entries, with a note of the missing part.

A cut never falls into a number, an identifier, a grapheme or a JSON value. Cuts are pairs of positions: the end of the
part before, and the beginning of the part behind, with the white space between them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Keep: TypeAlias = Literal["start", "end"]
"""Which end of a content stays when it is cut."""
Cost: TypeAlias = Callable[[str], int]

_MOST_CHARS_PER_TOKEN: Final = 16
"""No text that is worth its room has more; farther ahead no place to cut is looked for."""

_SENTENCE: Final = re.compile(
    r"(?P<line>[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])\s*+"
    r"|(?<=[.!?\u0964\u061f\u06d4])(?P<close>[\"'\u2019\u201d)\]]*+)\s++"
    r"|(?<=[\u3002\uff01\uff1f])(?P<wide>[\u300d\u300f\uff09\u201d]*)"
)
_WORD: Final = re.compile(r"\s++")
_BRACKET: Final = re.compile(r"[\[{]")
_PATIENCE: Final = 4
"""Limit of the search for JSON, in multiples of the text."""
_DEEP: Final = 10_000
_WINDOW: Final = 4_096
"""An error of the JSON reader counts the lines before it: so far before it a text is dropped."""
_MEMBER_END: Final = {"[": "]", "{": "}"}
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
# Values are only skipped: as text, a number of any size is read at once.
_DECODER: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


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
        entries = content
        return _fit_parts(
            len(entries), lambda n: "\n".join(entries[:n] if keep == "start" else entries[-n:]), room, cost
        )
    members = find_json_members(content)
    if members is not None:
        # An array or object with fewer members is one again.
        spans, closing = members
        opening = content[: content.index(content.strip()[0]) + 1]

        def join_members(n: int) -> str:
            return (
                f"{content[: spans[n - 1][1]]}{closing}" if keep == "start" else f"{opening}{content[spans[-n][0] :]}"
            )

        return _fit_parts(len(spans), join_members, room, cost)
    reach = room * _MOST_CHARS_PER_TOKEN
    window = (0, min(reach, len(content))) if keep == "start" else (max(0, len(content) - reach), len(content))
    for points in find_split_points(content, *window):
        part = _longest_part(content, points, room, cost, keep)
        if part.strip():
            return Piece(part, _describe_missing(len(content) - len(part), len(content), "characters"))
    return None


def _fit_parts(total: int, join: Callable[[int], str], room: int, cost: Cost) -> Piece | None:
    """Return `join` of as many of `total` parts as fit into `room`, None when none does."""
    count = _count_fitting(total, lambda n: cost(join(n)) <= room)
    return Piece(join(count), _describe_missing(total - count, total, "entries")) if count else None


def _longest_part(text: str, points: Sequence[SplitPoint], room: int, cost: Cost, keep: Keep) -> str:
    places = [point.end for point in points] if keep == "start" else [point.begin for point in reversed(points)]

    def take_part(n: int) -> str:
        return text[: places[n - 1]] if keep == "start" else text[places[n - 1] :]

    count = _count_fitting(len(places), lambda n: cost(take_part(n)) <= room)
    return take_part(count) if count else ""


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


@dataclass(frozen=True, slots=True)
class SplitPoint:
    """One place where a text may be cut."""

    end: int
    """End of what is kept before it."""
    begin: int
    """Beginning of what is kept behind it."""


def find_split_points(text: str, begin: int, end: int) -> Iterator[list[SplitPoint]]:
    """Yield the places between `begin` and `end`, in order: between lines and sentences, then between words."""
    values = Spans(find_json_spans(text))
    for pattern in (_SENTENCE, _WORD):
        points = []
        for match in pattern.finditer(text, begin, end):
            groups = match.groupdict()
            stop = match.start() + len(groups.get("close") or groups.get("wide") or "")
            if groups.get("line"):
                while stop > begin and text[stop - 1].isspace():
                    stop -= 1
            cut = SplitPoint(stop, match.end())
            if 0 < cut.begin < len(text) and not values.is_inside(cut) and _keeps_characters(text, cut):
                points.append(cut)
        yield points


class Spans:
    """Stretches of a text that must stay whole, in order and apart."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans = spans
        self._begins = [begin for begin, _ in spans]

    def is_inside(self, cut: SplitPoint) -> bool:
        """Whether the cut falls into one of them."""
        index = bisect_right(self._begins, cut.begin - 1) - 1
        return index >= 0 and self._spans[index][0] < cut.begin and cut.end < self._spans[index][1]


def find_json_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the outermost JSON arrays and objects in a text."""
    found, position, read = [], 0, 0
    window, base = text, 0
    while (bracket := _BRACKET.search(window, position)) and read < _PATIENCE * len(text):
        begin = bracket.start()
        if begin > _WINDOW:
            window, base, begin = window[begin:], base + begin, 0
        end, seen = _value_end(window, begin)
        read += seen
        if end is None:
            position = begin + 1
        else:
            found.append((base + begin, base + end))
            position = end
    return found


def find_json_members(text: str) -> tuple[list[tuple[int, int]], str] | None:
    """Return the span of each member of a JSON array or object and its closing bracket, None for other text."""
    whole = text.strip()
    if whole[:1] not in _MEMBER_END or _value_end(whole, 0)[0] != len(whole):
        return None
    members: list[tuple[int, int]] = []
    position = _past_blanks(text, text.index(whole[0]) + 1)
    while text[position] not in "]}":
        begin = position
        if whole[0] == "{":
            _, position = _DECODER.raw_decode(text, position)
            position = _past_blanks(text, _past_blanks(text, position) + 1)
        _, end = _DECODER.raw_decode(text, position)
        members.append((begin, end))
        position = _past_blanks(text, end)
        if text[position] == ",":
            position = _past_blanks(text, position + 1)
    return members, _MEMBER_END[whole[0]]


def _past_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _value_end(text: str, begin: int) -> tuple[int | None, int]:
    """Return the end of the JSON value at `begin` (None without one) and the characters read."""
    try:
        _, end = _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        return None, max(1, error.pos - begin)
    except RecursionError:
        return None, max(_DEEP, len(text) - begin)
    return end, end - begin


def _keeps_characters(text: str, cut: SplitPoint) -> bool:
    """Whether the cut leaves graphemes and numbers whole; `1 000 000` is one number."""
    before, after = text[cut.end - 1 : cut.end], text[cut.begin]
    if _extends_grapheme(after) or _extends_grapheme(text[cut.end]):
        return False
    gap = text[cut.end : cut.begin]
    number = before.isdigit() and after.isdigit()
    return not (number and len(gap) == 1 and gap not in "\n\r")


def _extends_grapheme(character: str) -> bool:
    """Whether a character belongs to the grapheme before it."""
    return unicodedata.category(character) in {"Mn", "Me", "Mc"} or character in "\u200d\ufe0e\ufe0f"
