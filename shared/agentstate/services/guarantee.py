"""What a service lets us promise about an operation that was cut off: four classes, declared per operation."""

from __future__ import annotations

from enum import StrEnum


class Guarantee(StrEnum):
    """How an operation is settled whose outcome is unknown."""

    KEYED = "keyed"
    """The service honours our key: call again with the same key. Exactly once."""

    NATURAL = "natural"
    """The operation can happen once by its nature: call again, "already done" is confirmed by reading. Exactly once."""

    VERIFIABLE = "verifiable"
    """The service shows our tag or the change: read after the settle time, call only when it is proven absent."""

    BLIND = "blind"
    """The service shows nothing: never call again, a person decides. At most once."""
