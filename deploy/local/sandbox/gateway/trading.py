"""Trading on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, cents, iso, usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.trading import ACCOUNT, UNITS, Trading, profit

SOURCE = "hyperliquid"
"""What the real service names as the source of positions that came from the venue itself."""


class TradingFace:
    """Requests of the trading service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)
        self._funding = Funding(books)

    def deposit(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference, amount = str(body.get("reference", "")), inputs.micros(body, "amount")
        balance = self._funding.deposit(agent_id, "trading", amount, reference, ACCOUNT)
        return {"agent_id": agent_id, "balance_usd": usd(balance), "reference": reference}

    def open(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`open {coin, side, size_usd, leverage?}`; there is no reference of the caller's."""
        row = self._trading.open(
            agent_id,
            inputs.text(body, "coin", "invalid_coin"),
            inputs.text(body, "side", "invalid_side"),
            inputs.micros(body, "size_usd"),
            inputs.whole(body, "leverage", 1, "invalid_leverage"),
        )
        return self._position(row)

    def close(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`close {position_id}`."""
        return self._position(self._trading.close(agent_id, inputs.text(body, "position_id")))

    def positions(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`positions?status=open|all`."""
        rows = self._trading.positions(agent_id, query.get("status", "open"))
        return {"positions": [self._position(row) for row in rows], "count": len(rows), "source": SOURCE}

    def history(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`history?limit`: the newest positions, at most 200."""
        rows = self._trading.history(agent_id, inputs.count(query, "limit", 50, 200))
        return {"trades": [self._position(row) for row in rows], "count": len(rows), "source": SOURCE}

    def state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: cash, margin, and open positions at present prices."""
        rows = self._trading.positions(agent_id, "open")
        cash = self._books.balance(agent_id, ACCOUNT)
        unrealized = sum(profit(row, self._trading.price(row["coin"])) for row in rows)
        return {
            "agent_id": agent_id,
            "balance_usd": usd(cash),
            "equity_usd": usd(cash + unrealized),
            "margin_used": usd(self._trading.margin_used(agent_id)),
            "positions": [self._position(row) for row in rows],
            "count": len(rows),
            "source": SOURCE,
        }

    def _position(self, row: Row) -> Body:
        price = self._trading.price(row["coin"])
        is_open = row["status"] == "open"
        return {
            "position_id": row["position_id"],
            "status": row["status"],
            "coin": row["coin"],
            "side": row["side"],
            "size": row["units_e8"] / UNITS,
            "size_usd": usd(row["notional"]),
            "entry_price": usd(row["entry_price"]),
            "current_price": usd(price),
            "exit_price": None if is_open else usd(row["exit_price"]),
            "leverage": row["leverage"],
            "margin_used": usd(row["margin"]),
            "unrealized_pnl": usd(profit(row, price)) if is_open else 0.0,
            "realized_pnl": None if is_open else usd(row["pnl"]),
            "fee": cents(row["fee"]),
            "fee_usd": usd(row["fee"]),
            "close_fee_usd": None if is_open else usd(row["close_fee"]),
            "opened_at": iso(row["opened_at"]),
            "closed_at": None if is_open else iso(row["closed_at"]),
        }
