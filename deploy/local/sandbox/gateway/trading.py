"""Trading on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_cents, to_iso, to_usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.trading import ACCOUNT, UNITS, Trading, profit_of

SOURCE = "hyperliquid"
"""What the real service names as the source of positions that came from the venue itself."""


class TradingHandler:
    """Requests of the trading service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)
        self._funding = Funding(books)

    def deposit_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference, amount = str(body.get("reference", "")), inputs.read_micros(body, "amount")
        balance = self._funding.deposit_money(agent_id, "trading", amount, reference, ACCOUNT)
        return {"agent_id": agent_id, "balance_usd": to_usd(balance), "reference": reference}

    def open_position(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`open {coin, side, size_usd, leverage?}`; there is no reference of the caller's."""
        row = self._trading.open_position(
            agent_id,
            inputs.read_text(body, "coin", "invalid_coin"),
            inputs.read_text(body, "side", "invalid_side"),
            inputs.read_micros(body, "size_usd"),
            inputs.read_integer(body, "leverage", 1, "invalid_leverage"),
        )
        return self._position_json(row)

    def close_position(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`close {position_id}`."""
        return self._position_json(self._trading.close_position(agent_id, inputs.read_text(body, "position_id")))

    def list_positions(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`positions?status=open|all`."""
        rows = self._trading.list_positions(agent_id, query.get("status", "open"))
        return {"positions": [self._position_json(row) for row in rows], "count": len(rows), "source": SOURCE}

    def list_history(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`history?limit`: the newest positions, at most 200."""
        rows = self._trading.list_history(agent_id, inputs.read_count(query, "limit", 50, 200))
        return {"trades": [self._position_json(row) for row in rows], "count": len(rows), "source": SOURCE}

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: cash, margin, and open positions at present prices."""
        rows = self._trading.list_positions(agent_id, "open")
        cash = self._books.read_balance(agent_id, ACCOUNT)
        unrealized = sum(profit_of(row, self._trading.read_price(row["coin"])) for row in rows)
        return {
            "agent_id": agent_id,
            "balance_usd": to_usd(cash),
            "equity_usd": to_usd(cash + unrealized),
            "margin_used": to_usd(self._trading.margin_used(agent_id)),
            "positions": [self._position_json(row) for row in rows],
            "count": len(rows),
            "source": SOURCE,
        }

    def _position_json(self, row: Row) -> Body:
        price = self._trading.read_price(row["coin"])
        is_open = row["status"] == "open"
        return {
            "position_id": row["position_id"],
            "status": row["status"],
            "coin": row["coin"],
            "side": row["side"],
            "size": row["units_e8"] / UNITS,
            "size_usd": to_usd(row["notional"]),
            "entry_price": to_usd(row["entry_price"]),
            "current_price": to_usd(price),
            "exit_price": None if is_open else to_usd(row["exit_price"]),
            "leverage": row["leverage"],
            "margin_used": to_usd(row["margin"]),
            "unrealized_pnl": to_usd(profit_of(row, price)) if is_open else 0.0,
            "realized_pnl": None if is_open else to_usd(row["pnl"]),
            "fee": to_cents(row["fee"]),
            "fee_usd": to_usd(row["fee"]),
            "close_fee_usd": None if is_open else to_usd(row["close_fee"]),
            "opened_at": to_iso(row["opened_at"]),
            "closed_at": None if is_open else to_iso(row["closed_at"]),
        }
