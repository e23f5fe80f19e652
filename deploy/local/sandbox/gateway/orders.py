"""Resting orders on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_iso, to_usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.orders import Orders


class OrdersHandler:
    """Requests about limit orders."""

    def __init__(self, books: Books) -> None:
        self._orders = Orders(books)

    def place_order(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`limit {coin, side, size_usd, limit_price, leverage?}`."""
        row = self._orders.place_order(
            agent_id,
            inputs.read_text(body, "coin", "invalid_coin"),
            inputs.read_text(body, "side", "invalid_side"),
            size=inputs.read_micros(body, "size_usd"),
            price=inputs.read_micros(body, "limit_price"),
            leverage=inputs.read_integer(body, "leverage", 1, "invalid_leverage"),
        )
        return order_json(row)

    def cancel_order(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`cancel {order_id}`."""
        return order_json(self._orders.cancel_order(agent_id, inputs.read_text(body, "order_id")))

    def list_orders(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`orders`: the newest 50."""
        rows = self._orders.list_orders(agent_id)
        return {"orders": [order_json(row) for row in rows], "count": len(rows)}


def order_json(row: Row) -> Body:
    """An order as it is listed."""
    return {
        "order_id": row["order_id"],
        "coin": row["coin"],
        "side": row["side"],
        "size_usd": to_usd(row["size"]),
        "limit_price": to_usd(row["price"]),
        "leverage": row["leverage"],
        "status": row["status"],
        "created_at": to_iso(row["created_at"]),
    }
