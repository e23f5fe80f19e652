"""Headings that separate slots in the text, and that content cannot forge.

A heading is a line that begins with `===`. A line of content that begins like one gets a backslash before it, so that
of all lines in a built context exactly ours are headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

SEPARATOR: Final = "\n\n"
SEPARATOR_TOKENS: Final = 4
"""More than any vocabulary takes for the separator and the line break after a content."""

_LOOKALIKES: Final = "\uff1d\ufe66\u2550\ua78a\u30a0"
_EQUALS: Final = f"={_LOOKALIKES}"
"""The equals sign and similar characters."""
_INVISIBLE: Final = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
_BREAKS: Final = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_BAR: Final = re.compile("==+")
_ANY_BAR: Final = re.compile(rf"[{_EQUALS}]{{2,}}")
_MOST_NAMED: Final = 8
_BLOCK: Final = 2_048


def format_heading(name: str) -> str:
    """Return the line above a slot's content."""
    return f"=== {name.upper()} ==="


def format_cut_mark(name: str, what: str) -> str:
    """Return the line that marks a missing part of a slot."""
    return f"=== {name.upper()}: {what} ==="


def format_left_out_mark(reasons: Sequence[str]) -> str:
    """Return the line that names the omitted slots."""
    named = "; ".join(reasons[:_MOST_NAMED])
    more = f"; and {len(reasons) - _MOST_NAMED} more" if len(reasons) > _MOST_NAMED else ""
    return f"=== LEFT OUT: {named}{more} ==="


def escape_headings(content: str) -> str:
    """Return `content` with a backslash before each line that looks like a heading.

    Raises:
        UnicodeEncodeError: it has half a surrogate pair.
    """
    beyond_ascii = list(_beyond_ascii(content))
    lookalike = any(sign in block for block in beyond_ascii for sign in _LOOKALIKES)
    # Plain searches are a hundred times faster than a pattern of classes, and nearly always enough.
    if not lookalike and "==" not in content:
        return content
    bars = (_ANY_BAR if lookalike else _BAR).finditer(content)
    forged = [bar.start() for bar in bars if _begins_line(content, bar.start())]
    edges = [0, *forged, len(content)]
    return "\\".join(content[begin:end] for begin, end in pairwise(edges)) if forged else content


def _begins_line(content: str, position: int) -> bool:
    """Return whether only invisible characters stand before `position` on its line."""
    while position and content[position - 1] not in _BREAKS:
        position -= 1
        if not (content[position].isspace() or content[position] in _INVISIBLE):
            return False
    return True


def _beyond_ascii(content: str) -> Iterator[str]:
    """The blocks of a text that are not ASCII, seen to be encodable: few of them in most texts."""
    for begin in range(0, 0 if content.isascii() else len(content), _BLOCK):
        block = content[begin : begin + _BLOCK]
        if not block.isascii():
            block.encode()
            yield block
