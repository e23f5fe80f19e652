"""Marks that no turn can forge: who speaks, what is a summary, what is left out.

Where we add words of our own to what was said (`[tool]`, `Ann:`, `[Summary ...]`), a line of somebody's text that
begins in the same way gets a backslash before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_OURS: Final = (
    r"\[\s*(?:summary|end of|system|tool|user|assistant|turns?|\d+ turns?|the conversation|no new|result|calls)\b"
)
_LINE: Final = r"(?P<begin>^|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])(?P<blank>\s*)"


def harmless(text: str, speakers: Iterable[str] = ()) -> str:
    """`text` with a backslash before each line that could be taken for a mark of ours or for another's words."""
    names = "|".join(re.escape(name) for name in sorted({"user", "assistant", "system", "tool", *speakers}))
    return re.sub(rf"{_LINE}(?={_OURS}|(?:{names})\s*:)", r"\g<begin>\g<blank>\\", text, flags=re.IGNORECASE)
