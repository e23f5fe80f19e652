"""Resting orders on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, iso, usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.orders import Orders


class OrdersFace:
    """Requests about limit orders."""

    def __init__(self, books: Books) -> None:
        self._orders = Orders(books)

    def limit(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`limit {coin, side, size_usd, limit_price, leverage?}`."""
        row = self._orders.place(
            agent_id,
            inputs.text(body, "coin", "invalid_coin"),
            inputs.text(body, "side", "invalid_side"),
            size=inputs.micros(body, "size_usd"),
            price=inputs.micros(body, "limit_price"),
            leverage=inputs.whole(body, "leverage", 1, "invalid_leverage"),
        )
        return order_body(row)

    def cancel(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`cancel {order_id}`."""
        return order_body(self._orders.cancel(agent_id, inputs.text(body, "order_id")))

    def orders(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`orders`: the newest 50."""
        rows = self._orders.list(agent_id)
        return {"orders": [order_body(row) for row in rows], "count": len(rows)}


def order_body(row: Row) -> Body:
    """An order as it is listed."""
    return {
        "order_id": row["order_id"],
        "coin": row["coin"],
        "side": row["side"],
        "size_usd": usd(row["size"]),
        "limit_price": usd(row["price"]),
        "leverage": row["leverage"],
        "status": row["status"],
        "created_at": iso(row["created_at"]),
    }
