"""Resting orders at trading: placing one leaves no reference of ours, cancelling one is harmless to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.amounts import parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, own_view
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import Dollars, Range, Text, TextRule
from agentstate.services.operations.receipts import Receipt
from agentstate.services.wire import Answer, Body, wire_amount

Coin: TypeAlias = Annotated[str, TextRule(r"[A-Za-z0-9:_-]{1,24}", "a market, such as BTC or TSLA")]
"""A market that the service lists: crypto, stocks, metals, currencies."""

Side: TypeAlias = Literal["long", "short"]

ORDERS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReceipt(Receipt):
    """An order; nothing has moved."""

    status: str
    coin: str = ""


@dataclass(frozen=True, kw_only=True)
class Limit(ServiceOperation[OrderReceipt]):
    """Place an order that a monitor fills when the price is there; nothing is paid before it fills."""

    name = "trading.limit"
    guarantee = Guarantee.VERIFIABLE
    own_path = "trade/limit"
    refusals = frozenset(
        {
            "invalid_side", "invalid_size", "invalid_price", "invalid_leverage", "invalid_coin", "unknown_coin",
            "too_large", "limit_reached",
        }
    )  # fmt: skip

    coin: Coin
    side: Side
    size: Dollars
    price: Dollars
    leverage: Annotated[int, Range(1, 50)] = 1

    def build_body(self, tag: str) -> Body:
        """Return the order; the service keeps no reference."""
        del tag
        return {
            "coin": self.coin,
            "side": self.side,
            "size_usd": wire_amount(self.size),
            "limit_price": wire_amount(self.price),
            "leverage": self.leverage,
        }

    def read_receipt(self, answer: Answer) -> OrderReceipt:
        """Read the order; nothing has moved."""
        return OrderReceipt(
            reference=answer.get_text("order_id"), coin=self.coin, status=answer.get_text("status"), raw=answer.body
        )

    def serial_key(self) -> str:
        """Return a key of the coin: one order a coin at a time."""
        return f"trading:limit:{plain_coin(self.coin)}"

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the orders before the call."""
        return {
            "ids": [row.get_text("order_id") for row in self.read_view(outside, agent_id, "orders").get_items("orders")]
        }

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for one new order that is like ours, filled or not."""
        if intent.baseline is None:
            return NO_BASELINE
        rows = self.read_view(outside, intent.agent_id, "orders").get_items("orders")
        new = [
            row
            for row in rows
            if row.get_text("order_id") not in intent.baseline["ids"]
            and plain_coin(str(row.get("coin"))) == plain_coin(self.coin)
        ]
        return self.match_only_one(outside, intent, new, self._matches_row, "order", all_shown=len(rows) < ORDERS_SHOWN)

    def _matches_row(self, row: Answer) -> bool:
        try:
            amounts = row.get_money("size_usd"), row.get_money("limit_price")
        except ServiceAnswerInvalid:
            return False
        if amounts != (parse_money(self.size), parse_money(self.price)):
            return False
        return bool(row.get("side") == self.side)


@dataclass(frozen=True, kw_only=True)
class Cancel(ServiceOperation[OrderReceipt]):
    """Cancel a resting order; harmless to repeat."""

    name = "trading.cancel"
    guarantee = Guarantee.NATURAL
    refusals = frozenset({"not_pending"})
    already = frozenset({"not_pending"})
    reference = "order id"

    order_id: Text

    def build_body(self, tag: str) -> Body:
        """Return the order's id."""
        del tag
        return {"order_id": self.order_id}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`DELETE trade/limit-orders/{id}`; its answer has no status."""
        answer = await request.send_operation(f"trade/limit-orders/{self.order_id}", {}, method="DELETE")
        return {**answer, **body, "status": "cancelled"}

    def read_receipt(self, answer: Answer) -> OrderReceipt:
        """Read the order's status."""
        return OrderReceipt(reference=self.order_id, status=answer.get_text("status"), raw=answer.body)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return whether the order was cancelled before the call; None for one that the list does not reach."""
        own = [
            row
            for row in self.read_view(outside, agent_id, "orders").get_items("orders")
            if row.get("order_id") == self.order_id
        ]
        return {"cancelled": own[0].get_text("status") == "cancelled" if own else None}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look at the order's own status."""
        if intent.baseline is not None and intent.baseline["cancelled"]:
            return Absent("the order was cancelled before this call, which was therefore refused")
        for row in self.read_view(outside, intent.agent_id, "orders").get_items("orders"):
            if row.get("order_id") == self.order_id:
                cancelled = row.get_text("status") == "cancelled"
                return Applied(self.read_receipt(row)) if cancelled else Absent("the order is not cancelled")
        return Unknown(f"the order is not among the newest {ORDERS_SHOWN}; look at the trading service")


def plain_coin(coin: str) -> str:
    """Return the name of a market without its exchange: `TSLA` for `xyz:TSLA`."""
    return coin.rpartition(":")[2].upper()


def is_resting(row: Answer) -> bool:
    """Return whether an order waits for its price."""
    return bool(row.get("status") == "pending")


@own_view("trading", "orders")
async def read_own_orders(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET trade/limit-orders`: the newest 50, in three lists by status."""
    shown = Answer(await request.read_json("trade/limit-orders"))
    statuses = ("pending", "filled", "cancelled")
    return {"orders": [{**row.body, "status": status} for status in statuses for row in shown.get_items(status)]}
