"""Trading's own routes, below `/v1`: raw rows of its database, and positions as the venue tells them."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_cents, to_usd
from deploy.local.sandbox.gateway.trading import SOURCE, TradingHandler
from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.orders import Orders
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.trading import Trading
from deploy.local.sandbox.own.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.own.venue import order_number, venue_address


class TradingRoutes:
    """What trading answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)
        self._orders = Orders(books)
        self._face = TradingHandler(books)
        self._keys = Keys(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write_route(f"{base}/auth/register", "join", self._register_account, public=True, status=201),
            read_route(f"{base}/auth/account", "account", self._read_account),
            write_route(f"{base}/trade/open", "open", self._open_position),
            write_route(f"{base}/trade/close", "close", self._close_position),
            read_route(f"{base}/trade/positions", "positions", self._list_positions),
            read_route(f"{base}/trade/history", "trades", self._list_trades),
            write_route(f"{base}/trade/limit", "limit", self._place_order),
            write_route(f"{base}/trade/cancel-limit", "cancel", self._cancel_order),
            read_route(f"{base}/trade/limit-orders", "orders", self._list_orders),
        )

    def _register_account(self, _who: str, _given: RequestData) -> Body:
        account, key = self._keys.create_account("trading")
        return {
            "agent_id": account,
            "api_key": key,
            "tier": "free",
            "deposit_address": venue_address(self._books, account),
        }

    def _read_account(self, who: str, _given: RequestData) -> Body:
        wallet = {"address": venue_address(self._books, who), "connected": True, "execution": "real"}
        return {
            "agent_id": who,
            "tier": "free",
            "max_leverage": 50,
            "max_position_usd": 10_000_000,
            "hl_wallet": wallet,
        }

    def _open_position(self, who: str, given: RequestData) -> Body:
        row = self._trading.open_position(
            who,
            inputs.read_text(given.body, "coin", "invalid_request"),
            inputs.read_text(given.body, "side", "invalid_request"),
            inputs.read_micros(given.body, "size_usd"),
            inputs.read_integer(given.body, "leverage", 5, "invalid_leverage"),
        )
        return {
            "position_id": row["position_id"],
            "coin": row["coin"],
            "side": row["side"],
            "size_usd": to_usd(row["notional"]),
            "entry_price": to_usd(row["entry_price"]),
            "leverage": row["leverage"],
            "margin_used": to_usd(row["margin"]),
            "fee": to_cents(row["fee"]),
            "hl_order_id": order_number(row["position_id"], "open"),
            "execution": "real",
            "status": "open",
        }

    def _close_position(self, who: str, given: RequestData) -> Body:
        try:
            row = self._trading.close_position(who, inputs.read_text(given.body, "position_id"))
        except Refusal as refusal:
            if refusal.code == "position_not_open":
                raise Refusal(404, "position_not_found") from None
            raise
        return {
            "position_id": row["position_id"],
            "coin": row["coin"],
            "side": row["side"],
            "entry_price": to_usd(row["entry_price"]),
            "exit_price": to_usd(row["exit_price"]),
            "size_usd": to_usd(row["notional"]),
            "pnl": to_cents(row["pnl"]),
            "fee": to_cents(row["close_fee"]),
            "hl_order_id": order_number(row["position_id"], "close"),
            "status": "closed",
        }

    def _list_positions(self, who: str, given: RequestData) -> Body:
        if given.query.get("status") == "all":
            rows = [_position_row_json(row) for row in self._trading.list_positions(who, "all")]
            return {"positions": rows, "count": len(rows), "source": "database"}
        shown = self._face.list_positions(who, {"status": "open"})
        return {**shown, "source": SOURCE}

    def _list_trades(self, who: str, given: RequestData) -> Body:
        rows = self._trading.list_history(who, inputs.read_count(given.query, "limit", 50, 200))
        return {"trades": [_trade_json(row) for row in rows], "count": len(rows)}

    def _place_order(self, who: str, given: RequestData) -> Body:
        row = self._orders.place_order(
            who,
            inputs.read_text(given.body, "coin", "invalid_request"),
            inputs.read_text(given.body, "side", "invalid_request"),
            size=inputs.read_micros(given.body, "size_usd"),
            price=inputs.read_micros(given.body, "limit_price"),
            leverage=inputs.read_integer(given.body, "leverage", 5, "invalid_leverage"),
        )
        return {"order_id": row["order_id"], "status": row["status"]}

    def _cancel_order(self, who: str, given: RequestData) -> Body:
        row = self._orders.cancel_order(who, inputs.read_text(given.body, "order_id"))
        return {"order_id": row["order_id"], "status": row["status"]}

    def _list_orders(self, who: str, _given: RequestData) -> Body:
        rows = self._orders.list_orders(who)
        return {"orders": [_own_order_json(row) for row in rows], "count": len(rows)}


def _position_row_json(row: Row) -> Body:
    closed = row["status"] != "open"
    return {
        "id": row["position_id"],
        "agentId": row["agent_id"],
        "coin": row["coin"],
        "side": row["side"],
        "sizeUsd": to_usd(row["notional"]),
        "entryPrice": to_usd(row["entry_price"]),
        "leverage": row["leverage"],
        "marginUsed": to_usd(row["margin"]),
        "status": row["status"],
        "unrealizedPnl": to_cents(row["pnl"]) if closed else 0,
        "openedAt": row["opened_at"] // MICROS,
        "closedAt": row["closed_at"] // MICROS if closed else None,
        "hlOrderId": str(order_number(row["position_id"], "open")),
    }


def _trade_json(row: Row) -> Body:
    return {
        "id": f"trd_{row['position_id']}",
        "coin": row["coin"],
        "side": "buy" if row["side"] == "long" else "sell",
        "sizeUsd": to_usd(row["notional"]),
        "price": to_usd(row["entry_price"]),
        "fee": to_cents(row["fee"]),
        "realizedPnl": None if row["pnl"] is None else to_cents(row["pnl"]),
        "createdAt": row["opened_at"] // MICROS,
    }


def _own_order_json(row: Row) -> Body:
    return {
        "id": row["order_id"],
        "coin": row["coin"],
        "side": row["side"],
        "sizeUsd": to_usd(row["size"]),
        "limitPrice": to_usd(row["price"]),
        "leverage": row["leverage"],
        "status": row["status"],
        "createdAt": row["created_at"] // MICROS,
    }
