"""The exchange behind trading: public reads by address, amounts as text, exact where trading rounds to cents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.trading import ACCOUNT, Trading, profit_of
from deploy.local.sandbox.model.truth import exact_json
from deploy.local.sandbox.own.route import RequestData, Route


class VenueRoutes:
    """`POST /info {type, user}`: `clearinghouseState` and `userFills`."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trading = Trading(books)

    def list_routes(self) -> Sequence[Route]:
        """The one route."""
        return (Route(method="POST", path="/info", name="info", act=self._answer_info, public=True, reads=True),)

    def _answer_info(self, _who: str, given: RequestData) -> Body:
        agent_id = self._find_agent(inputs.read_text(given.body, "user"))
        kind = inputs.read_text(given.body, "type")
        if kind == "clearinghouseState":
            return self._read_state(agent_id)
        if kind == "userFills":
            return {"fills": self._list_fills(agent_id)}
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
        shown = [{"coin": row["coin"], "unrealizedPnl": _to_decimal_text(gains[row["position_id"]])} for row in rows]
        return {
            "marginSummary": {"accountValue": _to_decimal_text(value), "totalMarginUsed": _to_decimal_text(margin)},
            "withdrawable": _to_decimal_text(max(0, value - margin)),
            "assetPositions": [{"position": position} for position in shown],
        }

    def _list_fills(self, agent_id: str) -> list[dict[str, Any]]:
        return [fill for row in self._trading.list_history(agent_id, 2_000) for fill in _fills_of(row)]


def venue_address(books: Books, agent_id: str) -> str:
    """The address under which the venue knows a trading account."""
    return "0x" + books.chance.derive_bytes("venue", agent_id).hex()[:40]


def order_number(position_id: str, side: str) -> int:
    """The venue's number of the order that opened or closed a position."""
    return int.from_bytes(hashlib.sha256(f"{position_id}:{side}".encode()).digest()[:6], "big")


def _fills_of(row: Row) -> list[dict[str, Any]]:
    opened = {
        "oid": order_number(row["position_id"], "open"),
        "coin": row["coin"],
        "px": _to_decimal_text(row["entry_price"]),
        "fee": _to_decimal_text(row["fee"]),
        "dir": "Open",
        "closedPnl": "0.0",
        "time": row["opened_at"] // 1_000,
    }
    if row["status"] == "open":
        return [opened]
    closed = {
        "oid": order_number(row["position_id"], "close"),
        "coin": row["coin"],
        "px": _to_decimal_text(row["exit_price"]),
        "fee": _to_decimal_text(row["close_fee"]),
        "dir": "Close",
        "closedPnl": _to_decimal_text(row["pnl"]),
        "time": row["closed_at"] // 1_000,
    }
    return [closed, opened]


def _to_decimal_text(micros: int) -> str:
    return str(exact_json(micros)["usd"])
