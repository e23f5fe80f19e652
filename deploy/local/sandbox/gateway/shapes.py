"""How the services write amounts and times: JSON floats, sometimes rounded to cents, and ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from deploy.local.sandbox.model.books import MICROS

Body = dict[str, Any]


def to_usd(micros: int) -> float:
    """An amount as the unrounded JSON number that the services send."""
    return micros / MICROS


def to_cents(micros: int) -> float:
    """An amount rounded to cents: 0.199 becomes 0.2."""
    return round(micros / MICROS, 2)


def to_iso(microseconds: int) -> str:
    """A time such as 2026-01-31T12:00:00.250Z."""
    when = datetime.fromtimestamp(microseconds / MICROS, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_info(body: Body, service: str) -> Body:
    """The body with the `_info` object that every answer carries."""
    return {**body, "_info": {"service": service, "note": "sandbox"}}
