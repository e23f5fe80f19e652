"""The exchange behind trading: it knows the money exactly, where the trading service only estimates in cents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.json_wire import decode_json
from agentstate.services.http.own_request import OwnRequest
from agentstate.services.operations.answer import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueAccount:
    """An account at the venue, in dollars: its value, the margin in use, and the gains of open positions."""

    value: Decimal
    margin: Decimal
    unrealized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """The result of one order; `at_ms` milliseconds since 1970."""

    order: str
    coin: str
    price: Decimal
    fee: Decimal
    profit: Decimal
    closes: bool
    at_ms: int


async def read_account(request: OwnRequest, address: str) -> VenueAccount:
    """Return the account of an address."""
    query = {"type": "clearinghouseState", "user": address}
    state = Answer(decode_json(await request.query_public("venue", "info", query)))
    summary = state.get_object("marginSummary")
    gains = [entry.get_object("position").get_number("unrealizedPnl") for entry in state.get_items("assetPositions")]
    return VenueAccount(
        value=summary.get_number("accountValue"),
        margin=summary.get_number("totalMarginUsed"),
        unrealized=sum(gains, Decimal(0)),
    )


async def read_fills(request: OwnRequest, address: str) -> list[Fill]:
    """Return the newest fills, one for each order."""
    content = await request.query_public("venue", "info", {"type": "userFills", "user": address})
    if content.lstrip()[:1] == b"[":  # the venue answers with a bare list
        content = b'{"fills":' + content + b"}"
    parts_by_order: dict[str, list[Answer]] = {}
    for row in Answer(decode_json(content)).get_items("fills"):
        parts_by_order.setdefault(str(row.get("oid")), []).append(row)
    return [
        Fill(
            order=order,
            coin=parts[0].get_text("coin"),
            price=parts[0].get_number("px"),
            fee=sum((part.get_number("fee") for part in parts), Decimal(0)),
            profit=sum((part.get_number("closedPnl") for part in parts), Decimal(0)),
            closes=parts[0].get_text("dir").startswith("Close"),
            at_ms=int(parts[0].get_number("time")),
        )
        for order, parts in parts_by_order.items()
    ]


def fill_of_order(fills: Sequence[Fill], order: object) -> Fill:
    """Return the fill of an order; raises ServiceAnswerInvalid when the venue does not show one yet."""
    for fill in fills:
        if fill.order == str(order):
            return fill
    raise ServiceAnswerInvalid(f"the venue shows no fill of order {str(order)[:40]!r} yet.")
