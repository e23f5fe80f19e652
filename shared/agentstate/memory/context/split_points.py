"""Places to cut a text: between lines and sentences, else between words, and never inside a value.

A cut never falls into a number, an identifier, a grapheme or a JSON value. Cuts are pairs of positions: the end of what
stays before, and the beginning of what stays behind, with the white space between them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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
        found = (_split_point(text, match, begin) for match in pattern.finditer(text, begin, end))
        yield [
            cut
            for cut in found
            if 0 < cut.begin < len(text) and not values.is_inside(cut) and _keeps_characters(text, cut)
        ]


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
    begin = text.index(whole[0])
    return list(_members(text, begin + 1, keyed=whole[0] == "{")), _MEMBER_END[whole[0]]


def _members(text: str, position: int, *, keyed: bool) -> Iterator[tuple[int, int]]:
    while True:
        begin = position = _past_blanks(text, position)
        if text[position] in "]}":
            return
        if keyed:
            _, position = _DECODER.raw_decode(text, position)
            position = _past_blanks(text, _past_blanks(text, position) + 1)
        _, end = _DECODER.raw_decode(text, position)
        yield begin, end
        position = _past_blanks(text, end)
        if text[position] != ",":
            return
        position += 1


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


def _split_point(text: str, match: re.Match[str], begin: int) -> SplitPoint:
    closing = match.groupdict()
    end = match.start() + len(closing.get("close") or closing.get("wide") or "")
    if closing.get("line"):
        while end > begin and text[end - 1].isspace():
            end -= 1
    return SplitPoint(end, match.end())


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
