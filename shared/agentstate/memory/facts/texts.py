"""What may be stored as text, and how a memory reads to the search.

A turn is searched as "Speaker: text" under its date: who said it and when are half of what people ask for.
"""

from __future__ import annotations

from datetime import datetime

from agentstate.errors import InvalidInput, TooLarge


def check_text(text: object, *, limit: int, what: str = "content") -> str:
    """Return `text` when it may be stored; raise InvalidInput or TooLarge else.

    Args:
        text: what a caller gave.
        limit: longest text in UTF-8 bytes.
        what: its name in the error.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the {what} is {type(text).__name__}, not text. Nothing was stored.")
    if not text.strip():
        raise InvalidInput(f"the {what} is empty; give text with at least one visible character. Nothing was stored.")
    if "\x00" in text:
        raise InvalidInput(f"the {what} has a NUL character, which cannot be stored; remove it. Nothing was stored.")
    size = _utf8_size(text, what)
    if size > limit:
        raise TooLarge(
            f"the {what} has {size:,} bytes, over the limit of {limit:,} (AGENTSTATE_MAX_TEXT_BYTES). "
            "Nothing was stored; split it, or raise the limit."
        )
    return text


def check_label(value: str | None, what: str, *, limit: int = 200) -> str | None:
    """Return a short text such as a speaker or a source reference when it may be stored; None stays None."""
    if value is None:
        return None
    label = check_text(value, limit=4 * limit, what=what)
    if len(label) > limit:
        raise TooLarge(f"the {what} has {len(label)} characters, over the limit of {limit}. Nothing was stored.")
    return label


def search_text(content: str, *, speaker: str | None = None, said_at: datetime | None = None) -> str:
    """The text that is embedded and searched for a memory."""
    if speaker is None:
        return content
    said = f"{speaker}: {content}"
    return said if said_at is None else f"[{said_at.day} {said_at:%B %Y}] {said}"


def _utf8_size(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the {what} has half a surrogate pair at character {error.start}, which is no text; remove it. "
            "Nothing was stored."
        ) from None
