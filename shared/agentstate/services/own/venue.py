"""The exchange behind trading: it knows the money exactly, where the trading service only estimates in cents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from agentstate.services.http.json_wire import decode_json
from agentstate.services.operations.answer import Answer
from agentstate.services.own.desk import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What stands at the venue, in dollars."""

    value: Decimal
    margin: Decimal
    unrealized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What came of one order; `at_ms` milliseconds since 1970."""

    order: str
    coin: str
    price: Decimal
    fee: Decimal
    profit: Decimal
    closes: bool
    at_ms: int


async def money(desk: Desk, address: str) -> Money:
    """The account's value, the margin in use, and what open positions have gained."""
    told = Answer(decode_json(await desk.ask("venue", "info", {"type": "clearinghouseState", "user": address})))
    summary = told.inner("marginSummary")
    gains = [entry.inner("position").number("unrealizedPnl") for entry in told.items("assetPositions")]
    return Money(
        value=summary.number("accountValue"),
        margin=summary.number("totalMarginUsed"),
        unrealized=sum(gains, Decimal(0)),
    )


async def fills(desk: Desk, address: str) -> list[Fill]:
    """The newest fills, one for each order."""
    told = await desk.ask("venue", "info", {"type": "userFills", "user": address})
    rows = _rows(told)
    by_order: dict[str, list[Answer]] = {}
    for row in rows:
        by_order.setdefault(str(row.get("oid")), []).append(row)
    return [_fill(order, parts) for order, parts in by_order.items()]


def _rows(told: bytes) -> list[Answer]:
    """The venue answers with a bare list."""
    return Answer(decode_json(b'{"fills":' + told + b"}" if told.lstrip()[:1] == b"[" else told)).items("fills")


def _fill(order: str, parts: Sequence[Answer]) -> Fill:
    return Fill(
        order=order,
        coin=parts[0].text("coin"),
        price=parts[0].number("px"),
        fee=sum((part.number("fee") for part in parts), Decimal(0)),
        profit=sum((part.number("closedPnl") for part in parts), Decimal(0)),
        closes=parts[0].text("dir").startswith("Close"),
        at_ms=int(parts[0].number("time")),
    )
