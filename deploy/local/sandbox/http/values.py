"""Values on the wire: readers that refuse the same input as the services, and writers of amounts and times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from deploy.local.sandbox.model.books import MICROS, Refusal
from deploy.local.sandbox.model.truth import exact_json

Body = dict[str, Any]


def to_usd(micros: int) -> float:
    """An amount as the unrounded JSON number that the services send."""
    return micros / MICROS


def to_cents(micros: int) -> float:
    """An amount rounded to cents: 0.199 becomes 0.2."""
    return round(micros / MICROS, 2)


def to_usd_text(micros: int) -> str:
    """Return an amount as exact decimal text, as the wallet and the exchange send it."""
    return str(exact_json(micros)["usd"])


def to_iso(microseconds: int) -> str:
    """A time such as 2026-01-31T12:00:00.250Z."""
    when = datetime.fromtimestamp(microseconds / MICROS, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_info(body: Body, service: str) -> Body:
    """The body with the `_info` object that every answer carries."""
    return {**body, "_info": {"service": service, "note": "sandbox"}}


MOST = Decimal(10) ** 12
LONGEST_SEED = 5_000


def read_micros(body: Mapping[str, Any], name: str) -> int:
    """A JSON number of dollars as micro-dollars; text is refused, finer than a micro-dollar is refused."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refusal(400, "invalid_amount", f"{name} is a number.")
    return _to_micros(Decimal(value), name)


def read_micros_text(body: Mapping[str, Any], name: str) -> int:
    """A decimal in text, as the wallet takes it, as micro-dollars."""
    value = body.get(name)
    if not isinstance(value, str) or not value.replace(".", "", 1).isdecimal():
        raise Refusal(400, "invalid_request", f"{name} is text such as 12.50.")
    return _to_micros(Decimal(value), name)


def _to_micros(value: Decimal, name: str) -> int:
    if abs(value) > MOST or value != value.quantize(Decimal("0.000001")):
        raise Refusal(400, "invalid_amount", f"{name} has at most six decimals.")
    return int(value * MICROS)


def read_text(body: Mapping[str, Any], name: str, code: str = "invalid_request") -> str:
    """A text that must be there."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(400, code, f"{name} is missing.")
    return value


def read_integer(body: Mapping[str, Any], name: str, default: int, code: str = "invalid_request") -> int:
    """A whole number, or its default."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(400, code, f"{name} is a whole number.")
    return value


def read_client_seed(body: Mapping[str, Any]) -> str | None:
    """The caller's `client_seed`, if any."""
    value = body.get("client_seed")
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_SEED:
        raise Refusal(400, "invalid_client_seed", f"client_seed is text of at most {LONGEST_SEED} characters.")
    return value


def read_count(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A number of rows in a query, capped."""
    value = query.get(name, str(default))
    if not value.isdecimal():
        raise Refusal(400, "invalid_request", f"{name} is a whole number.")
    return min(int(value), most)


def read_since_us(query: Mapping[str, str]) -> int:
    """The query's `since` (ISO 8601 or epoch seconds) in microseconds, 0 when absent."""
    value = query.get("since", "0")
    try:
        when = datetime.fromtimestamp(int(value), UTC) if value.isdecimal() else datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise Refusal(400, "invalid_request", "since is an ISO time or epoch seconds.") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return int(when.timestamp() * MICROS)
