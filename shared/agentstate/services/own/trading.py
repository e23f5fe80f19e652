"""Trading's own routes, together with the venue behind it: rows from the service, money and fees from the venue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.own import venue
from agentstate.services.own.casino import ours
from agentstate.services.own.desk import Desk
from agentstate.services.own.registering import register
from agentstate.services.own.venue import Fill

CLOSE_WINDOW_MS = 3_000
"""How far the service's time of closing and the venue's may be apart."""


async def state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/account` and `trade/positions`, and the account at the venue."""
    account, positions = await asyncio.gather(desk.get("auth/account"), desk.get("trade/positions"))
    stands = await venue.money(desk, _address(account))
    return {
        **ours(desk, account),
        "balance_usd": stands.value - stands.unrealized,
        "equity_usd": stands.value,
        "margin_used": stands.margin,
        "positions": positions.get("positions"),
        "source": Answer(positions).text("source"),
    }


async def positions(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET trade/positions`."""
    return await desk.get("trade/positions", **query)


async def history(desk: Desk, _query: Mapping[str, str]) -> Body:
    """The service's newest 50 rows, each with what the venue says about its fills; `source` as the venue answers."""
    rows, present, found = await asyncio.gather(
        desk.get("trade/positions", status="all"), desk.get("trade/positions"), _fills(desk)
    )
    trades = [_row(row, found) for row in Answer(rows).items("positions")]
    return {"trades": trades, "source": Answer(present).text("source")}


async def orders(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET trade/limit-orders`."""
    rows = Answer(await desk.get("trade/limit-orders")).items("orders")
    return {"orders": [_order(row) for row in rows]}


async def open_position(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST trade/open`; the fee is the venue's."""
    answer = await desk.post("trade/open", body)
    fill = _of_order(await _fills(desk), answer.get("hl_order_id"))
    return {**answer, "fee_usd": fill.fee}


async def close(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST trade/close`; profit and fee are the venue's."""
    answer = await desk.post("trade/close", body)
    fill = _of_order(await _fills(desk), answer.get("hl_order_id"))
    return {**answer, **_closed(fill)}


async def limit(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST trade/limit`."""
    return await desk.post("trade/limit", body)


async def cancel(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST trade/cancel-limit`."""
    return await desk.post("trade/cancel-limit", body)


async def _fills(desk: Desk) -> list[Fill]:
    return await venue.fills(desk, _address(await desk.get("auth/account")))


def _address(account: Body) -> str:
    return Answer(account).inner("hl_wallet").text("address")


def _of_order(found: Sequence[Fill], order: object) -> Fill:
    for fill in found:
        if fill.order == str(order):
            return fill
    raise ServiceAnswerInvalid(f"the venue shows no fill of order {str(order)[:40]!r} yet.")


def _row(row: Answer, found: Sequence[Fill]) -> Body:
    """A raw row in the gateway's words. What the venue cannot tell is left out, so that nobody takes it for known."""
    told: Body = {
        "position_id": row.text("id"),
        "status": row.text("status"),
        "coin": row.text("coin"),
        "side": row.text("side"),
        "size_usd": row.number("sizeUsd"),
        "entry_price": row.number("entryPrice"),
        "leverage": row.get("leverage"),
        "margin_used": row.number("marginUsed"),
        "opened_at": _iso(row, "openedAt"),
    }
    opening = [fill for fill in found if fill.order == str(row.get("hlOrderId"))]
    told |= {"fee_usd": opening[0].fee} if opening else {}
    closing = _closing(row, found) if told["status"] == "closed" else []
    return told | (_closed(closing[0]) if len(closing) == 1 else {})


def _closing(row: Answer, found: Sequence[Fill]) -> list[Fill]:
    """The fills that can have closed a position: of its coin, at its time."""
    at_ms = int(row.number("closedAt")) * 1_000
    near = [fill for fill in found if fill.closes and abs(fill.at_ms - at_ms) <= CLOSE_WINDOW_MS]
    return [fill for fill in near if fill.coin == row.text("coin")]


def _closed(fill: Fill) -> Body:
    return {"realized_pnl": fill.profit, "close_fee_usd": fill.fee, "exit_price": fill.price}


def _order(row: Answer) -> Body:
    return {
        "order_id": row.text("id"),
        "coin": row.text("coin"),
        "side": row.text("side"),
        "size_usd": row.number("sizeUsd"),
        "limit_price": row.number("limitPrice"),
        "status": row.text("status"),
        "created_at": _iso(row, "createdAt"),
    }


def _iso(row: Answer, name: str) -> str:
    return datetime.fromtimestamp(int(row.number(name)), UTC).isoformat()


VIEWS = {"state": state, "positions": positions, "history": history, "orders": orders}
OPERATIONS = {"join": register, "open": open_position, "close": close, "limit": limit, "cancel": cancel}
