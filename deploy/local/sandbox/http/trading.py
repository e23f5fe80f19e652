"""Trading over HTTP: positions and orders on the gateway, its own routes below `/v1`, and the exchange behind it.

The exchange answers public reads by address, with amounts as text, exact where trading rounds to cents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_cents, to_iso, to_usd, to_usd_text
from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row
from deploy.local.sandbox.model.funding import Funding, Keys
from deploy.local.sandbox.model.trading import ACCOUNT, MOST_LEVERAGE, UNITS, Orders, Trading, profit_of

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
        reference, amount = str(body.get("reference", "")), values.read_micros(body, "amount")
        balance = self._funding.deposit_money(agent_id, "trading", amount, reference, ACCOUNT)
        return {"agent_id": agent_id, "balance_usd": to_usd(balance), "reference": reference}

    def open_position(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`open {coin, side, size_usd, leverage?}`; there is no reference of the caller's."""
        row = self._trading.open_position(
            agent_id,
            values.read_text(body, "coin", "invalid_coin"),
            values.read_text(body, "side", "invalid_side"),
            values.read_micros(body, "size_usd"),
            values.read_integer(body, "leverage", 5, "invalid_leverage"),
        )
        return self._position_json(row)

    def close_position(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`close {position_id}`."""
        return self._position_json(self._trading.close_position(agent_id, values.read_text(body, "position_id")))

    def list_positions(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`positions?status=open|all`."""
        rows = self._trading.list_positions(agent_id, query.get("status", "open"))
        return {"positions": [self._position_json(row) for row in rows], "count": len(rows), "source": SOURCE}

    def list_history(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`history?limit`: the newest positions, at most 200."""
        rows = self._trading.list_history(agent_id, values.read_count(query, "limit", 50, 200))
        return {"trades": [self._position_json(row) for row in rows], "count": len(rows), "source": SOURCE}

    def list_fills(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`fills`: the newest fills at the venue, whatever the service has of them."""
        return {
            "fills": [
                {
                    "order": str(fill["oid"]),
                    "coin": fill["coin"],
                    "closes": fill["dir"].startswith("Close"),
                    "at_ms": fill["time"],
                    "realized_pnl": fill["closedPnl"],
                    "close_fee_usd": fill["fee"],
                    "exit_price": fill["px"],
                }
                for fill in list_venue_fills(self._books, agent_id)
            ]
        }

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
            "order": str(order_number(row["position_id"], "open")),
            "opened_at": to_iso(row["opened_at"]),
            "closed_at": None if is_open else to_iso(row["closed_at"]),
        }


class OrdersHandler:
    """Requests about limit orders."""

    def __init__(self, books: Books) -> None:
        self._orders = Orders(books)

    def place_order(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`limit {coin, side, size_usd, limit_price, leverage?}`."""
        row = self._orders.place_order(
            agent_id,
            values.read_text(body, "coin", "invalid_coin"),
            values.read_text(body, "side", "invalid_side"),
            size=values.read_micros(body, "size_usd"),
            price=values.read_micros(body, "limit_price"),
            leverage=values.read_integer(body, "leverage", 1, "invalid_leverage"),
        )
        return order_json(row)

    def cancel_order(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`cancel {order_id}`."""
        return order_json(self._orders.cancel_order(agent_id, values.read_text(body, "order_id")))

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


class VenueRoutes:
    """`POST /info {type, user, dex?}`: `clearinghouseState` and `userFills`; nothing is on the second market, `xyz`."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)

    def list_routes(self) -> Sequence[Route]:
        """The one route."""
        return (Route(method="POST", path="/info", name="info", act=self._answer_info, public=True, reads=True),)

    def _answer_info(self, _who: str, given: RequestData) -> Body | list[Body]:
        agent_id = self._find_agent(values.read_text(given.body, "user"))
        kind, is_main = values.read_text(given.body, "type"), given.body.get("dex") != "xyz"
        if kind == "clearinghouseState":
            return self._read_state(agent_id) if is_main else _state_json(0, 0, [])
        if kind == "userFills":
            return list_venue_fills(self._books, agent_id) if is_main else []
        raise Refusal(422, "invalid_request", "type is clearinghouseState or userFills.")

    def _find_agent(self, address: str) -> str:
        for row in self._books.query_rows("SELECT agent_id FROM keys WHERE service = 'trading'"):
            if venue_address(self._books, row["agent_id"]) == address:
                return str(row["agent_id"])
        raise Refusal(404, "not_found", "Nobody has this address.")

    def _read_state(self, agent_id: str) -> Body:
        rows = self._trading.list_positions(agent_id, "open")
        cash, margin = self._books.read_balance(agent_id, ACCOUNT), self._trading.margin_used(agent_id)
        gains = {row["position_id"]: profit_of(row, self._trading.read_price(row["coin"])) for row in rows}
        value = cash + sum(gains.values())
        shown = [{"coin": row["coin"], "unrealizedPnl": to_usd_text(gains[row["position_id"]])} for row in rows]
        return _state_json(value, margin, shown)


def _state_json(value: int, margin: int, positions: Sequence[Body]) -> Body:
    return {
        "marginSummary": {"accountValue": to_usd_text(value), "totalMarginUsed": to_usd_text(margin)},
        "withdrawable": to_usd_text(max(0, value - margin)),
        "assetPositions": [{"type": "oneWay", "position": position} for position in positions],
    }


def list_venue_fills(books: Books, agent_id: str) -> list[Body]:
    """Return the fills that the venue shows of an agent, newest first."""
    rows = Trading(books).list_history(agent_id, 2_000, at_venue=True)
    return sorted((fill for row in rows for fill in _fills_of(row)), key=lambda fill: -int(fill["time"]))


def venue_address(books: Books, agent_id: str) -> str:
    """The address under which the venue knows a trading account."""
    return "0x" + books.chance.derive_bytes("venue", agent_id).hex()[:40]


def order_number(position_id: str, side: str) -> int:
    """The venue's number of the order that opened or closed a position."""
    return int.from_bytes(hashlib.sha256(f"{position_id}:{side}".encode()).digest()[:6], "big")


def _fills_of(row: Row) -> list[Body]:
    opened = {
        "oid": order_number(row["position_id"], "open"),
        "coin": row["coin"],
        "px": to_usd_text(row["entry_price"]),
        "fee": to_usd_text(row["fee"]),
        "dir": f"Open {row['side'].title()}",
        "tid": 2 * order_number(row["position_id"], "open"),
        "closedPnl": "0.0",
        "time": row["opened_at"] // 1_000,
    }
    if row["exit_price"] is None:
        return [opened]
    closed = {
        "oid": order_number(row["position_id"], "close"),
        "coin": row["coin"],
        "px": to_usd_text(row["exit_price"]),
        "fee": to_usd_text(row["close_fee"]),
        "dir": f"Close {row['side'].title()}",
        "tid": 2 * order_number(row["position_id"], "close"),
        "closedPnl": to_usd_text(row["pnl"]),
        "time": row["closed_at"] // 1_000,
    }
    return [closed, opened]


WALLET_FLAGS: Body = {
    "generated": True,
    "signing_key_stored": True,
    "builder_fee_approved": False,
    "execution": "real",
}


class TradingRoutes:
    """Trading's own routes."""

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
            write_route(f"{base}/auth/register", "join", self.register_account, public=True, status=201),
            read_route(f"{base}/auth/account", "account", self.read_account),
            write_route(f"{base}/trade/open", "open", self.open_position),
            write_route(f"{base}/trade/close", "close", self.close_position),
            read_route(f"{base}/trade/positions", "positions", self.list_positions),
            read_route(f"{base}/trade/history", "trades", self.list_trades),
            write_route(f"{base}/trade/limit", "limit", self.place_order, status=201),
            write_route(f"{base}/trade/limit-orders/{{}}", "cancel", self.cancel_order, method="DELETE"),
            read_route(f"{base}/trade/limit-orders", "orders", self.list_orders),
        )

    def register_account(self, _who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/auth/register`."""
        account, key = self._keys.create_account("trading")
        return {
            "agent_id": account,
            "api_key": key,
            "referral_code": f"ref_{account[3:11]}",
            "tier": "free",
            "deposit_address": venue_address(self._books, account),
            "hl_wallet": {"address": venue_address(self._books, account), **WALLET_FLAGS},
        }

    def read_account(self, who: str, _given: RequestData) -> Body:
        """Answer `GET /v1/auth/account`."""
        wallet = {"address": venue_address(self._books, who), "connected": True, **WALLET_FLAGS}
        return {
            "agent_id": who,
            "tier": "free",
            "max_leverage": MOST_LEVERAGE,
            "max_position_usd": 10_000_000,
            "referral_code": f"ref_{who[3:11]}",
            "hl_wallet": wallet,
        }

    def open_position(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/trade/open`."""
        row = self._trading.open_position(
            who,
            values.read_text(given.body, "coin", "invalid_request"),
            values.read_text(given.body, "side", "invalid_request"),
            values.read_micros(given.body, "size_usd"),
            values.read_integer(given.body, "leverage", 5, "invalid_leverage"),
        )
        return {
            "position_id": row["position_id"],
            "order_id": f"ord_{row['position_id'][4:]}",
            "coin": row["coin"],
            "ticker": row["coin"],
            "side": row["side"],
            "size_usd": to_cents(row["notional"]),
            "entry_price": to_usd(row["entry_price"]),
            "leverage": row["leverage"],
            "margin_used": to_cents(row["margin"]),
            "fee": to_cents(row["fee"]),
            "hl_order_id": order_number(row["position_id"], "open"),
            "execution": "real",
            "status": "open",
        }

    def close_position(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/trade/close`."""
        row = self._trading.close_position(who, values.read_text(given.body, "position_id"))
        return {
            "position_id": row["position_id"],
            "coin": row["coin"],
            "ticker": row["coin"],
            "side": row["side"],
            "leverage": row["leverage"],
            "execution": "real",
            "entry_price": to_usd(row["entry_price"]),
            "exit_price": to_usd(row["exit_price"]),
            "size_usd": to_usd(row["notional"]),
            "pnl": to_cents(row["pnl"]),
            "fee": to_cents(row["close_fee"]),
            "hl_order_id": order_number(row["position_id"], "close"),
            "status": "closed",
        }

    def list_positions(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/trade/positions`."""
        if given.query.get("status") == "all":
            rows = [
                {**_position_row_json(row), "current_price": to_usd(self._trading.read_price(row["coin"]))}
                for row in self._trading.list_positions(who, "all")
            ]
            return {"positions": rows, "count": len(rows), "source": "database"}
        shown = self._face.list_positions(who, {"status": "open"})
        names = (
            "position_id", "coin", "side", "size", "size_usd", "entry_price", "current_price", "leverage",
            "margin_used", "unrealized_pnl",
        )  # fmt: skip
        venue = [
            {**{name: row[name] for name in names}, "ticker": row["coin"], "source": SOURCE}
            for row in shown["positions"]
        ]
        return {**shown, "positions": venue, "source": SOURCE}

    def list_trades(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/trade/history`."""
        rows = self._trading.list_history(who, values.read_count(given.query, "limit", 50, 200))
        return {
            "trades": [
                {
                    "id": f"trd_{row['position_id']}",
                    "agentId": who,
                    "orderId": f"ord_{row['position_id'][4:]}",
                    "coin": row["coin"],
                    "side": "buy" if row["side"] == "long" else "sell",
                    "sizeUsd": to_usd(row["notional"]),
                    "price": to_usd(row["entry_price"]),
                    "fee": to_cents(row["fee"]),
                    "realizedPnl": None if row["pnl"] is None else to_cents(row["pnl"]),
                    "createdAt": row["opened_at"] // MICROS,
                }
                for row in rows
            ],
            "count": len(rows),
        }

    def place_order(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/trade/limit`."""
        row = self._orders.place_order(
            who,
            values.read_text(given.body, "coin", "invalid_request"),
            values.read_text(given.body, "side", "invalid_request"),
            size=values.read_micros(given.body, "size_usd"),
            price=values.read_micros(given.body, "limit_price"),
            leverage=values.read_integer(given.body, "leverage", 5, "invalid_leverage"),
        )
        shown = order_json(row)
        del shown["created_at"]
        return {**shown, "current_price": to_usd(self._trading.read_price(row["coin"]))}

    def cancel_order(self, who: str, given: RequestData) -> Body:
        """Answer `DELETE /v1/trade/limit-orders/{id}`."""
        row = self._orders.cancel_order(who, given.places[0])
        return {"coin": row["coin"], "limit_price": to_usd(row["price"])}

    def list_orders(self, who: str, _given: RequestData) -> Body:
        """Answer `GET /v1/trade/limit-orders`: three lists by status."""
        lists: dict[str, list[Body]] = {"pending": [], "filled": [], "cancelled": []}
        for row in self._orders.list_orders(who):
            shown = order_json(row)
            status = shown.pop("status")
            created_at, leverage = shown.pop("created_at"), shown.pop("leverage")
            if status == "pending":
                shown |= {"leverage": leverage, "created_at": row["created_at"] // MICROS}
            if status == "filled":
                shown |= {"fill_price": shown["limit_price"], "filled_at": row["created_at"] // MICROS}
            del created_at
            lists[status].append(shown)
        return {**lists, "pending_count": len(lists["pending"])}


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
        "ticker": row["coin"],
        "unrealizedPnl": to_cents(row["pnl"]) if closed else 0,
        "unrealized_pnl": to_cents(row["pnl"]) if closed else 0,
        "openedAt": row["opened_at"] // MICROS,
        "closedAt": row["closed_at"] // MICROS if closed else None,
        "hlOrderId": str(order_number(row["position_id"], "open")),
    }
