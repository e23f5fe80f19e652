"""Marks that no turn can forge: the speaker of a text, a summary, and a gap.

Where we add words of our own to a turn (`[tool]`, `Ann:`, `[Summary ...]`), a line of its text that begins in the same
way gets a backslash before it. Each line is looked at once, so the time is linear in the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_ROLES: Final = ("user", "assistant", "system", "tool")
_OURS: Final = (
    r"\[\s*+(?:summary|end of|system|tool|user|assistant|turns?|\d++ turns?|the conversation|no new|result|calls)\b"
)
# A run of blanks is taken as a whole, from its first: the mark behind it begins a line if the run has a line break.
_RUN: Final = r"(?:\A|(?<!\s)(?=\s))\s*+"
_BREAK: Final = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def escape_markers(text: str, speakers: Iterable[str] = ()) -> str:
    """Return `text` with a backslash before each line that looks like one of our marks or a speaker's name."""
    return _marker_pattern(frozenset(speakers)).sub(_escape_if_first, text)


def _escape_if_first(run: re.Match[str]) -> str:
    begins_line = run.start() == 0 or _BREAK.search(run[0])
    return f"{run[0]}\\" if begins_line else run[0]


@lru_cache(maxsize=256)
def _marker_pattern(speakers: frozenset[str]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted({*_ROLES, *speakers}))
    return re.compile(rf"{_RUN}(?={_OURS}|(?:{names})\s*+:)", re.IGNORECASE)
