"""Resting orders at trading: placing one leaves no reference of ours, cancelling one is harmless to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, nearest_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt
from agentstate.services.operations.trading import COINS

ORDERS_SHOWN = 50


class Limit(Operation):
    """Place an order that a monitor fills when the price is there.

    Params: `coin`, `side` ("long", "short"), `size` (Decimal, dollars), `price` (Decimal), `leverage` (1 to 50, 1 by
    default). Nothing is paid before it fills, which happens without any call of ours.
    """

    name = "trading.limit"
    guarantee = Guarantee.VERIFIABLE
    refusals = frozenset({"invalid_coin", "invalid_side", "invalid_size", "invalid_price", "invalid_leverage"})

    def request(self, tag: str, params: Params) -> Body:
        """The service keeps no reference."""
        del tag
        return {
            "coin": params.choice("coin", COINS),
            "side": params.choice("side", ("long", "short")),
            "size_usd": from_micros(params.micros("size")),
            "limit_price": from_micros(params.micros("price")),
            "leverage": params.whole("leverage", 1, 50, 1),
        }

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The order rests; nothing moved."""
        return self.made(answer.text("order_id"), coin=str(body["coin"]), status=answer.text("status"))

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """The orders before the call."""
        del params
        return {"ids": [row.text("order_id") for row in _orders(gateway, agent_id)]}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One order a coin at a time."""
        return f"trading:limit:{params.get('coin')}"

    def found(self, case: Case) -> Verdict:
        """One new order that is like ours, filled or not."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call, so a new order cannot be told from an old one")
        rows = _orders(case.gateway, case.agent_id)
        fresh = [row for row in rows if row.text("order_id") not in case.baseline["ids"]]
        ours = [row for row in fresh if _fits(row, case.body)]
        return self.only_one(case, ours, "order", all_shown=len(fresh) < ORDERS_SHOWN)


class Cancel(Operation):
    """Cancel a resting order. Params: `order_id`. Harmless to repeat."""

    name = "trading.cancel"
    guarantee = Guarantee.NATURAL
    refusals = frozenset({"order_not_found", "order_not_open"})
    already = frozenset({"order_not_open"})
    reference = "order id"

    def request(self, tag: str, params: Params) -> Body:
        """Only the order's id."""
        del tag
        return {"order_id": params.text("order_id")}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """It rests no more."""
        return self.made(str(body["order_id"]), status=answer.text("status"))

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the order was cancelled before the call; None for one that the list does not reach."""
        mine = [row for row in _orders(gateway, agent_id) if row.get("order_id") == params.get("order_id")]
        return {"cancelled": mine[0].text("status") == "cancelled" if mine else None}

    def found(self, case: Case) -> Verdict:
        """The order's own status tells."""
        if case.baseline is not None and case.baseline["cancelled"]:
            return Absent("the order was cancelled before this call, which was therefore refused")
        for row in _orders(case.gateway, case.agent_id):
            if row.get("order_id") == case.body["order_id"]:
                cancelled = row.text("status") == "cancelled"
                return Applied(self.receipt(row, case.body)) if cancelled else Absent("the order is not cancelled")
        return Unknown("the order is not among the newest 50; look at the trading service")


def _orders(gateway: Gateway, agent_id: str) -> list[Answer]:
    return Answer(gateway.read(agent_id, Service.TRADING, "orders")).items("orders")


def _fits(row: Answer, body: Body) -> bool:
    try:
        sizes = row.micros("size_usd") == nearest_micros(body["size_usd"])
        prices = row.micros("limit_price") == nearest_micros(body["limit_price"])
    except ServiceAnswerInvalid:
        return False
    return sizes and prices and all(row.get(name) == body[name] for name in ("coin", "side"))


limit: Final = Limit()
cancel: Final = Cancel()
