"""Time: one injected source, always UTC and timezone-aware."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present time in UTC; tests hand in their own."""


def utc_now() -> datetime:
    """The present time in UTC, timezone-aware, in microseconds."""
    return datetime.now(UTC)
