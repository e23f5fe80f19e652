"""Checks of a memory before it is stored, and the text under which it is searched.

A turn is searched as "Speaker: text" under its date: questions are often about the speaker and the time.
"""

from __future__ import annotations

from datetime import datetime
from typing import overload

from agentstate.errors import InvalidInput, TooLarge
from agentstate.ids import validate_name

MAX_KIND = 32
"""Longest kind of a memory, in characters."""


def check_text(text: object, *, limit: int, what: str = "content") -> str:
    """Return `text` if it may be stored.

    Args:
        text: the caller's value.
        limit: longest text in UTF-8 bytes.
        what: its name in the error.

    Raises:
        InvalidInput: it is no text, empty, or not storable. TooLarge: it is over `limit`.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the {what} is {type(text).__name__}, not text. Nothing was stored.")
    if not text.strip():
        raise InvalidInput(f"the {what} is empty; give text with at least one visible character. Nothing was stored.")
    if "\x00" in text:
        raise InvalidInput(f"the {what} has a NUL character, which cannot be stored; remove it. Nothing was stored.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the {what} has half a surrogate pair at character {error.start}, which is no text; remove it. "
            "Nothing was stored."
        ) from None
    if size > limit:
        raise TooLarge(
            f"the {what} has {size:,} bytes, over the limit of {limit:,} (AGENTSTATE_MAX_TEXT_BYTES). "
            "Nothing was stored; split it, or raise the limit."
        )
    return text


def check_label(value: str | None, what: str, *, limit: int = 200) -> str | None:
    """Return a short text such as a speaker or a source if it may be stored; None stays None."""
    if value is None:
        return None
    label = check_text(value, limit=4 * limit, what=what)
    if len(label) > limit:
        raise TooLarge(f"the {what} has {len(label)} characters, over the limit of {limit}. Nothing was stored.")
    return label


def check_kind(kind: str) -> str:
    """Return the kind of a memory if it may be stored; raises InvalidInput."""
    if len(validate_name(kind, "kind")) > MAX_KIND:
        raise InvalidInput(f"the kind {kind[:40]!r} has over {MAX_KIND} characters. Nothing was stored.")
    return kind


@overload
def check_aware(moment: datetime, what: str) -> datetime: ...
@overload
def check_aware(moment: datetime | None, what: str) -> datetime | None: ...
def check_aware(moment: datetime | None, what: str) -> datetime | None:
    """Return `moment` if it has a time zone; None stays None; raises InvalidInput."""
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput(f"{what} is {moment.isoformat()} without a time zone; give UTC. Nothing was stored.")
    return moment


def search_text(content: str, *, speaker: str | None = None, said_at: datetime | None = None) -> str:
    """Return the text that is embedded and searched for a memory."""
    if speaker is None:
        return content
    said = f"{speaker}: {content}"
    return said if said_at is None else f"[{said_at.day} {said_at:%B %Y}] {said}"
