"""Trading: leveraged positions on three coins against an account of its own, and resting orders with their monitor.

Prices are a pure function of the seed, the coin and the tick of five seconds. A position's size is rounded to the
nearest lot of the coin, so more or less than asked for is bought, and its leverage is cut to the account's limit. A
loss is limited to the margin, in place of a liquidation.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row

ACCOUNT = "trading"
UNITS = 100_000_000
MOST_LEVERAGE = 20
"""What an account may use at most; more is cut without a word."""

MOST_PENDING = 10
UNRECORDED = "unrecorded"
"""Status of a position at the venue that the trading service has no row of."""

MOST_SIZE = 10_000_000 * MICROS
FEE_E6 = 550
"""Fee in millionths of the position's value: 5.5 basis points."""

TICK_US = 5 * MICROS
SWING_E6 = 10_000
"""Prices stay within 1 % of their base."""


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin's base price in micro-dollars and its lot in units of 1e-8."""

    base: int
    lot: int


COINS = {
    "BTC": Coin(94_000 * MICROS, 1_000),
    "ETH": Coin(3_200 * MICROS, 10_000),
    "SOL": Coin(150 * MICROS, 1_000_000),
}


class Trading:
    """Positions and fills."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def read_price(self, coin: str) -> int:
        """The coin's present price in micro-dollars."""
        tick = self._books.clock() // TICK_US
        swing = self._books.chance.draw_below(2 * SWING_E6 + 1, "price", coin, tick) - SWING_E6
        return COINS[coin].base * (MICROS + swing) // MICROS

    def open_position(self, agent_id: str, coin: str, side: str, size: int, leverage: int) -> Row:
        """Open a position worth about `size` micro-dollars."""
        check_order(coin, side, size)
        self._books.require_agent(agent_id)
        leverage = min(leverage, MOST_LEVERAGE)
        price = self.read_price(coin)
        lot = COINS[coin].lot
        units = (2 * size * UNITS // price + lot) // (2 * lot) * lot
        notional = units * price // UNITS
        if units == 0:
            raise Refusal(400, "invalid_size", "size_usd is below one lot.")
        fee, margin = notional * FEE_E6 // MICROS, notional // leverage
        free = self._books.read_balance(agent_id, ACCOUNT) - self.margin_used(agent_id)
        if (margin + fee) > free:
            raise Refusal(400, "insufficient_balance", "The free margin is too low.", free_margin=free)
        position_id = self._books.chance.make_token("pos", agent_id, self._books.next_nonce(agent_id))
        self._books.post_entry(agent_id, -fee, "open_fee", position_id, "trading", account=ACCOUNT)
        self._books.insert_row(
            "positions", position_id=position_id, agent_id=agent_id, coin=coin, side=side, units_e8=units,
            notional=notional, entry_price=price, leverage=leverage, margin=margin, fee=fee, status=UNRECORDED,
            opened_at=self._books.clock(),
        )  # fmt: skip
        self._books.pass_step("fill_without_row")
        self._books.execute("UPDATE positions SET status = 'open' WHERE position_id = ?", position_id)
        self._books.record_effect("trading", "open", agent_id, position_id)
        return self.get_position(agent_id, position_id)

    def get_position(self, agent_id: str, position_id: str) -> Row:
        """One position of an agent."""
        row = self._books.query_row(
            "SELECT * FROM positions WHERE agent_id = ? AND position_id = ?", agent_id, position_id
        )
        if row is None:
            raise Refusal(404, "position_not_found", "This agent has no such position.")
        return row

    def close_position(self, agent_id: str, position_id: str) -> Row:
        """Close a position at the present price and settle its profit or loss, less the fee."""
        row = self.get_position(agent_id, position_id)
        if row["status"] != "open":
            raise Refusal(404, "position_not_found", "The position is closed.")
        if row["exit_price"] is not None:
            raise Refusal(400, "close_failed", "No open position on the venue.")
        price = self.read_price(row["coin"])
        pnl = profit_of(row, price)
        fee = row["units_e8"] * price // UNITS * FEE_E6 // MICROS
        self._books.post_entry(agent_id, pnl - fee, "close", position_id, "trading", account=ACCOUNT)
        self._books.execute(
            "UPDATE positions SET exit_price = ?, pnl = ?, close_fee = ?, closed_at = ? WHERE position_id = ?",
            price, pnl, fee, self._books.clock(), position_id,
        )  # fmt: skip
        self._books.pass_step("fill_without_row")
        self._books.execute("UPDATE positions SET status = 'closed' WHERE position_id = ?", position_id)
        self._books.record_effect("trading", "close", agent_id, position_id)
        return self.get_position(agent_id, position_id)

    def list_positions(self, agent_id: str, status: str) -> list[Row]:
        """The agent's open positions, or the newest 50 of any status, newest first."""
        self._books.require_agent(agent_id)
        some = f"AND status != '{UNRECORDED}' " if status == "all" else "AND status = 'open' "
        sql = f"SELECT * FROM positions WHERE agent_id = ? {some}ORDER BY opened_at DESC, rowid DESC"  # noqa: S608
        rows = self._books.query_rows(sql, agent_id)
        return rows[:50] if status == "all" else rows

    def list_history(self, agent_id: str, limit: int, *, at_venue: bool = False) -> list[Row]:
        """Return the newest positions, opened or closed; with `at_venue` also those that the service has no row of."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM positions WHERE agent_id = ? AND status != ? ORDER BY opened_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, "" if at_venue else UNRECORDED, limit)

    def margin_used(self, agent_id: str) -> int:
        """Micro-dollars that open positions tie up."""
        sql = "SELECT coalesce(sum(margin), 0) AS n FROM positions WHERE agent_id = ? AND status != 'closed'"
        row = self._books.query_row(sql, agent_id)
        return int(row["n"]) if row else 0


def profit_of(row: Row, price: int) -> int:
    """Profit or loss of a position at a price, in micro-dollars; never worse than the margin."""
    moved = row["units_e8"] * (price - row["entry_price"]) // UNITS
    gained = int(moved if row["side"] == "long" else -moved)
    return max(gained, -int(row["margin"]))


def check_order(coin: str, side: str, size: int, *, unknown: str = "trade_failed") -> None:
    """Refuse an order that cannot be; a market that is not there with the code `unknown`."""
    if side not in {"long", "short"}:
        raise Refusal(400, "invalid_side", "side is long or short.")
    if coin not in COINS:
        raise Refusal(400, unknown, f"Market not found: {coin}.")
    if size <= 0:
        raise Refusal(400, "invalid_size", "size_usd is above 0.")
    if size > MOST_SIZE:
        raise Refusal(400, "position_too_large", "size_usd is at most 10,000,000.", max_position_usd=MOST_SIZE)


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
        check_order(coin, side, size, unknown="unknown_coin")
        if price <= 0:
            raise Refusal(400, "invalid_price", "limit_price is above 0.")
        if sum(row["status"] == "pending" for row in self.list_orders(agent_id)) >= MOST_PENDING:
            raise Refusal(400, "limit_reached", f"At most {MOST_PENDING} orders rest.")
        order_id = books.chance.make_token("ord", agent_id, books.next_nonce(agent_id))
        books.insert_row(
            "orders", order_id=order_id, agent_id=agent_id, coin=coin, side=side, size=size, price=price,
            leverage=min(leverage, MOST_LEVERAGE), status="pending", created_at=books.clock(),
        )  # fmt: skip
        books.record_effect("trading", "limit", agent_id, order_id)
        return self.get_order(agent_id, order_id)

    def cancel_order(self, agent_id: str, order_id: str) -> Row:
        """Take an order back that has not filled."""
        if self.get_order(agent_id, order_id)["status"] != "pending":
            raise Refusal(400, "not_pending", "The order does not rest any more.")
        self._books.execute("UPDATE orders SET status = 'cancelled' WHERE order_id = ?", order_id)
        self._books.record_effect("trading", "cancel", agent_id, order_id)
        return self.get_order(agent_id, order_id)

    def get_order(self, agent_id: str, order_id: str) -> Row:
        """One order of an agent."""
        row = self._books.query_row("SELECT * FROM orders WHERE agent_id = ? AND order_id = ?", agent_id, order_id)
        if row is None:
            raise Refusal(404, "not_found", "This agent has no such order.")
        return row

    def list_orders(self, agent_id: str) -> list[Row]:
        """The newest 50, of any status."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM orders WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, SHOWN)

    def fill_due_orders(self) -> int:
        """Fill the orders that have reached their price and return their number; one without margin is cancelled."""
        return sum(
            self._fill_order(row) for row in self._books.query_rows("SELECT * FROM orders WHERE status = 'pending'")
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
            status = "cancelled"
        self._books.execute("UPDATE orders SET status = ? WHERE order_id = ?", status, row["order_id"])
        return int(status == "filled")
