"""Checks of arguments, each with an error that names the argument; and the text that is searched.

A turn is searched as "Speaker: text" under its date: questions are often about the speaker and the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, overload
from uuid import UUID

from agentstate.errors import InvalidInput, TooLarge
from agentstate.ids import shorten_repr, validate_name

MAX_KIND = 32
"""Longest kind of a memory, in characters."""
MAX_SECONDS = 31_536_000
"""Longest wait that can be asked for: a year."""
MAX_YEAR = 9_999
MAX_NUMBER = 2**63 - 1
"""The largest number that a database column holds."""


def check_text(text: object, *, limit: int, what: str = "content", may_be_blank: bool = False) -> str:
    """Return `text` if it may be stored.

    Args:
        text: the caller's value.
        limit: longest text in UTF-8 bytes.
        what: its name in the error.
        may_be_blank: whether it may be empty, as a query may.

    Raises:
        InvalidInput: it is no text, empty, or not storable. TooLarge: it is over `limit`.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"the {what} is {type(text).__name__}, not text; give a str. Nothing was stored.")
    if not (may_be_blank or text.strip()):
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
        raise TooLarge(
            f"the {what} has {len(label)} characters, over the limit of {limit}; shorten it. Nothing was stored."
        )
    return label


def check_kind(kind: object) -> str:
    """Return the kind of a memory if it may be stored; raises InvalidInput."""
    name = validate_name(kind, "kind")
    if len(name) > MAX_KIND:
        raise InvalidInput(f"the kind {name[:40]!r} has over {MAX_KIND} characters; shorten it. Nothing was stored.")
    return name


def check_kinds(kind: object) -> tuple[str, ...]:
    """Return the kinds that a filter names, one or several; none for None; raises InvalidInput."""
    if kind is None or isinstance(kind, str):
        return () if kind is None else (check_kind(kind),)
    return tuple(check_kind(one) for one in check_list(kind, "kind", "a kind or a list of kinds"))


def check_list(values: object, what: str, remedy: str) -> list[Any]:
    """Return the items of any iterable but a text or a mapping; raises InvalidInput that asks for `remedy`."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidInput(f"{what} is {shorten_repr(values)}; give {remedy}. Nothing was done.")
    return list(values)


def check_whole(value: object, what: str, *, least: int = 1, most: int) -> int:
    """Return a whole number within its bounds; raises InvalidInput."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(
            f"{what} is {shorten_repr(value)}; give a whole number from {least:,} to {most:,}. Nothing was done."
        )
    return value


def check_seconds(value: object, what: str) -> float:
    """Return a finite number of seconds, 0 or more; raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise InvalidInput(
            f"{what} is {shorten_repr(value)}; give seconds, a number from 0 to {MAX_SECONDS:,}. Nothing was done."
        )
    return float(value)


def check_flag(value: object, what: str) -> bool:
    """Return a truth value; raises InvalidInput."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} is {shorten_repr(value)}; give True or False. Nothing was done.")
    return value


def check_id(value: object, what: str = "memory_id") -> UUID:
    """Return the id of a memory, which may be given as text; raises InvalidInput."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        with suppress(ValueError):
            return UUID(value)
    raise InvalidInput(f"{what} is {shorten_repr(value)}; give a UUID, such as `receipt.id`. Nothing was done.")


@overload
def check_aware(moment: datetime, what: str) -> datetime: ...
@overload
def check_aware(moment: datetime | None, what: str) -> datetime | None: ...
def check_aware(moment: datetime | None, what: str) -> datetime | None:
    """Return `moment` if it is a time with a zone, of a year that databases know; None stays None.

    Raises:
        InvalidInput: it is not.
    """
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise InvalidInput(f"{what} is {shorten_repr(moment)}; give a datetime in UTC. Nothing was stored.")
    if moment.utcoffset() is None:
        raise InvalidInput(f"{what} is {moment.isoformat()} without a time zone; give UTC. Nothing was stored.")
    with suppress(OverflowError):
        if moment.astimezone(UTC).year < MAX_YEAR:
            return moment
    raise InvalidInput(
        f"{what} is {moment.isoformat()}; give a year from 1 to {MAX_YEAR - 1} in UTC. Nothing was done."
    )


def search_text(content: str, *, speaker: str | None = None, said_at: datetime | None = None) -> str:
    """Return the text that is embedded and searched for a memory."""
    if speaker is None:
        return content
    said = f"{speaker}: {content}"
    return said if said_at is None else f"[{said_at.day} {said_at:%B %Y}] {said}"
