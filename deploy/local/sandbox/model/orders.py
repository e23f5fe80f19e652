"""Resting orders, and the monitor that fills them when their price is there, without any call of the agent's."""

from __future__ import annotations

from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.trading import Trading, check_order

SHOWN = 50


class Orders:
    """Limit orders."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)

    def place_order(self, agent_id: str, coin: str, side: str, *, size: int, price: int, leverage: int) -> Row:
        """Let an order rest; nothing is paid before it fills."""
        books = self._books
        books.require_agent(agent_id)
        check_order(coin, side, size, leverage)
        if price <= 0:
            raise Refusal(400, "invalid_price", "limit_price is above 0.")
        order_id = books.chance.make_token("ord", agent_id, books.next_nonce(agent_id))
        books.insert_row(
            "orders", order_id=order_id, agent_id=agent_id, coin=coin, side=side, size=size, price=price,
            leverage=leverage, status="open", created_at=books.clock(),
        )  # fmt: skip
        books.record_effect("trading", "limit", agent_id, order_id)
        return self.get_order(agent_id, order_id)

    def cancel_order(self, agent_id: str, order_id: str) -> Row:
        """Take an order back that has not filled."""
        if self.get_order(agent_id, order_id)["status"] != "open":
            raise Refusal(409, "order_not_open", "The order does not rest any more.")
        self._books.execute("UPDATE orders SET status = 'cancelled' WHERE order_id = ?", order_id)
        self._books.record_effect("trading", "cancel", agent_id, order_id)
        return self.get_order(agent_id, order_id)

    def get_order(self, agent_id: str, order_id: str) -> Row:
        """One order of an agent."""
        row = self._books.query_row("SELECT * FROM orders WHERE agent_id = ? AND order_id = ?", agent_id, order_id)
        if row is None:
            raise Refusal(404, "order_not_found", "This agent has no such order.")
        return row

    def list_orders(self, agent_id: str) -> list[Row]:
        """The newest 50, of any status."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM orders WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, SHOWN)

    def fill_due_orders(self) -> int:
        """Fill what has its price; how many. An order whose margin is not there any more fails."""
        return sum(
            self._fill_order(row) for row in self._books.query_rows("SELECT * FROM orders WHERE status = 'open'")
        )

    def _fill_order(self, row: Row) -> int:
        price = self._trading.read_price(row["coin"])
        there = price <= row["price"] if row["side"] == "long" else price >= row["price"]
        if not there:
            return 0
        status = "filled"
        try:
            self._trading.open_position(row["agent_id"], row["coin"], row["side"], row["size"], row["leverage"])
        except Refusal:
            status = "failed"
        self._books.execute("UPDATE orders SET status = ? WHERE order_id = ?", status, row["order_id"])
        return int(status == "filled")
