"""What a verification finds: the operation was applied, was certainly not applied, or it cannot be told yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Receipt: TypeAlias = dict[str, str | int | bool | None]
"""What an operation did, fit for JSON. Always has `operation`, `reference` (the service's id), and in micro-USDC
`debited` (left the agent's balance at the service), `credited` (came onto it) and `fee` (contained in the two)."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The operation happened; `receipt` is what `call` would have returned."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Absent:
    """The operation did not happen and cannot happen any more by itself: it may be called again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be told now.

    Args:
        reason: why, for a person.
        settles_in_s: seconds after which asking again can help; None when only a person can find out.
    """

    reason: str
    settles_in_s: float | None = None


Verdict: TypeAlias = Applied | Absent | Unknown
