"""How far a state can be relied on, as far as the state itself tells."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from agentstate.services.operations.names import Service

FIRST_HAND = "hyperliquid"
"""The trading service names the source of its positions; any other than the venue is second-hand."""

UNREAD_MEMBER = "unread"
"""The member of a state that names the parts which could not be read, where there are any."""


class Quality(StrEnum):
    """How far an entry can be relied on."""

    LIVE = "live"
    """Asked for within the service's time to live, and answered in full."""

    FALLBACK = "fallback"
    """As live, but the service itself had it from a second-hand source."""

    PARTIAL = "partial"
    """As live, but a part could not be read; what is there is right."""

    SUSPECT_ZERO = "suspect_zero"
    """As live, but money that was there is shown as zero, which services also do when they cannot tell."""

    STALE = "stale"
    """Older; the service could not be asked, or is being asked. Within the limit for stale entries."""

    UNKNOWN = "unknown"
    """Nothing is known that is young enough. There is no state; `as_of` tells of when the last one was."""


def assess_quality(service: Service, state: Mapping[str, Any]) -> tuple[Quality, str | None]:
    """Live, fallback or partial, and why it is not live."""
    unread = state.get(UNREAD_MEMBER)
    if unread:
        return Quality.PARTIAL, f"could not be read: {', '.join(map(str, unread))[:200]}"
    source = state.get("source") if service is Service.TRADING else None
    if source is not None and source != FIRST_HAND:
        return Quality.FALLBACK, f"positions come from {str(source)[:40]!r}, not from the venue"
    return Quality.LIVE, None
