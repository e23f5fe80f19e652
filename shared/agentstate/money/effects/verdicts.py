"""The guarantees of remotes about a call, and the verdicts of looking for a call that was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias


class Guarantee(StrEnum):
    """The way to settle a call with an unknown outcome; declared per operation."""

    KEYED = "keyed"
    """The remote honours our key: call again with the same key. Exactly once while it remembers the key."""

    NATURAL = "natural"
    """The thing can happen once by its nature: look, and call again when it is not there. Exactly once."""

    VERIFIABLE = "verifiable"
    """The remote shows our mark or the change: call again only when it is proven absent. Once; a late sender shows."""

    BLIND = "blind"
    """The remote shows nothing: never call again, a person decides. At most once."""


KEYED: Final = Guarantee.KEYED
NATURAL: Final = Guarantee.NATURAL
VERIFIABLE: Final = Guarantee.VERIFIABLE
BLIND: Final = Guarantee.BLIND


@dataclass(frozen=True, slots=True)
class Applied:
    """The call took effect; `receipt` is the receipt that it would have returned."""

    receipt: Any


@dataclass(frozen=True, slots=True)
class Absent:
    """The call took no effect and cannot any more by itself: it may be made again."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The outcome cannot be told now.

    Args:
        reason: why, for a person.
        settles_in_s: seconds after which asking again can help; None when that is not known.
        is_final: whether asking again never helps: the effect is left to a person at once.
    """

    reason: str = ""
    settles_in_s: float | None = None
    is_final: bool = False


Verdict: TypeAlias = Applied | Absent | Unknown
