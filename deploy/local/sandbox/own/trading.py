"""Trading's own routes, below `/v1`: raw rows of its database, and positions as the venue tells them."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, cents, usd
from deploy.local.sandbox.gateway.trading import SOURCE, TradingFace
from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.orders import Orders
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.trading import Trading
from deploy.local.sandbox.own.route import Given, Route, read, write
from deploy.local.sandbox.own.venue import address_of, order_number


class TradingRoutes:
    """What trading answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)
        self._orders = Orders(books)
        self._face = TradingFace(books)
        self._keys = Keys(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write(f"{base}/auth/register", "join", self._register, public=True, status=201),
            read(f"{base}/auth/account", "account", self._account),
            write(f"{base}/trade/open", "open", self._open),
            write(f"{base}/trade/close", "close", self._close),
            read(f"{base}/trade/positions", "positions", self._positions),
            read(f"{base}/trade/history", "trades", self._history),
            write(f"{base}/trade/limit", "limit", self._limit),
            write(f"{base}/trade/cancel-limit", "cancel", self._cancel),
            read(f"{base}/trade/limit-orders", "orders", self._limit_orders),
        )

    def _register(self, _who: str, _given: Given) -> Body:
        account, key = self._keys.register("trading")
        return {
            "agent_id": account,
            "api_key": key,
            "tier": "free",
            "deposit_address": address_of(self._books, account),
        }

    def _account(self, who: str, _given: Given) -> Body:
        wallet = {"address": address_of(self._books, who), "connected": True, "execution": "real"}
        return {
            "agent_id": who,
            "tier": "free",
            "max_leverage": 50,
            "max_position_usd": 10_000_000,
            "hl_wallet": wallet,
        }

    def _open(self, who: str, given: Given) -> Body:
        row = self._trading.open(
            who,
            inputs.text(given.body, "coin", "invalid_request"),
            inputs.text(given.body, "side", "invalid_request"),
            inputs.micros(given.body, "size_usd"),
            inputs.whole(given.body, "leverage", 5, "invalid_leverage"),
        )
        return {
            "position_id": row["position_id"],
            "coin": row["coin"],
            "side": row["side"],
            "size_usd": usd(row["notional"]),
            "entry_price": usd(row["entry_price"]),
            "leverage": row["leverage"],
            "margin_used": usd(row["margin"]),
            "fee": cents(row["fee"]),
            "hl_order_id": order_number(row["position_id"], "open"),
            "execution": "real",
            "status": "open",
        }

    def _close(self, who: str, given: Given) -> Body:
        try:
            row = self._trading.close(who, inputs.text(given.body, "position_id"))
        except Refusal as refusal:
            if refusal.code == "position_not_open":
                raise Refusal(404, "position_not_found") from None
            raise
        return {
            "position_id": row["position_id"],
            "coin": row["coin"],
            "side": row["side"],
            "entry_price": usd(row["entry_price"]),
            "exit_price": usd(row["exit_price"]),
            "size_usd": usd(row["notional"]),
            "pnl": cents(row["pnl"]),
            "fee": cents(row["close_fee"]),
            "hl_order_id": order_number(row["position_id"], "close"),
            "status": "closed",
        }

    def _positions(self, who: str, given: Given) -> Body:
        if given.query.get("status") == "all":
            rows = [_raw(row) for row in self._trading.positions(who, "all")]
            return {"positions": rows, "count": len(rows), "source": "database"}
        shown = self._face.positions(who, {"status": "open"})
        return {**shown, "source": SOURCE}

    def _history(self, who: str, given: Given) -> Body:
        rows = self._trading.history(who, inputs.count(given.query, "limit", 50, 200))
        return {"trades": [_trade(row) for row in rows], "count": len(rows)}

    def _limit(self, who: str, given: Given) -> Body:
        row = self._orders.place(
            who,
            inputs.text(given.body, "coin", "invalid_request"),
            inputs.text(given.body, "side", "invalid_request"),
            size=inputs.micros(given.body, "size_usd"),
            price=inputs.micros(given.body, "limit_price"),
            leverage=inputs.whole(given.body, "leverage", 5, "invalid_leverage"),
        )
        return {"order_id": row["order_id"], "status": row["status"]}

    def _cancel(self, who: str, given: Given) -> Body:
        row = self._orders.cancel(who, inputs.text(given.body, "order_id"))
        return {"order_id": row["order_id"], "status": row["status"]}

    def _limit_orders(self, who: str, _given: Given) -> Body:
        rows = self._orders.list(who)
        return {"orders": [_order(row) for row in rows], "count": len(rows)}


def _raw(row: Row) -> Body:
    closed = row["status"] != "open"
    return {
        "id": row["position_id"],
        "agentId": row["agent_id"],
        "coin": row["coin"],
        "side": row["side"],
        "sizeUsd": usd(row["notional"]),
        "entryPrice": usd(row["entry_price"]),
        "leverage": row["leverage"],
        "marginUsed": usd(row["margin"]),
        "status": row["status"],
        "unrealizedPnl": cents(row["pnl"]) if closed else 0,
        "openedAt": row["opened_at"] // MICROS,
        "closedAt": row["closed_at"] // MICROS if closed else None,
        "hlOrderId": str(order_number(row["position_id"], "open")),
    }


def _trade(row: Row) -> Body:
    return {
        "id": f"trd_{row['position_id']}",
        "coin": row["coin"],
        "side": "buy" if row["side"] == "long" else "sell",
        "sizeUsd": usd(row["notional"]),
        "price": usd(row["entry_price"]),
        "fee": cents(row["fee"]),
        "realizedPnl": None if row["pnl"] is None else cents(row["pnl"]),
        "createdAt": row["opened_at"] // MICROS,
    }


def _order(row: Row) -> Body:
    return {
        "id": row["order_id"],
        "coin": row["coin"],
        "side": row["side"],
        "sizeUsd": usd(row["size"]),
        "limitPrice": usd(row["price"]),
        "leverage": row["leverage"],
        "status": row["status"],
        "createdAt": row["created_at"] // MICROS,
    }
