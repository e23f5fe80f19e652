"""Swap orders on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_iso
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.swaps import Swaps


class SwapsHandler:
    """Requests about swaps."""

    def __init__(self, books: Books) -> None:
        self._swaps = Swaps(books)

    def order_swap(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`swap {from_chain, to_chain, from_token, to_token, amount, to_address}`."""
        inputs.read_micros_text(body, "amount")
        row = self._swaps.create_order(
            agent_id,
            inputs.read_text(body, "from_chain", "unsupported_chain"),
            inputs.read_text(body, "to_chain", "unsupported_chain"),
            str(body["amount"]),
            inputs.read_text(body, "to_address"),
        )
        return swap_json(row)

    def list_activity(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`activity`: swaps and referrals, no transfers."""
        return {"swaps": [swap_json(row) for row in self._swaps.list_orders(agent_id)], "referrals": []}

    def read_swap_status(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`swap-status?order_id`: where the order stands at the exchange."""
        row = self._swaps.find_order(query.get("order_id", ""))
        return {"order_id": row["order_id"], "status": "awaiting_deposit"}


def swap_json(row: Row) -> Body:
    """An order as it is listed; its status there is never updated."""
    return {
        "swap_id": row["swap_id"],
        "order_id": row["order_id"],
        "from_chain": row["source"],
        "to_chain": row["target"],
        "amount": row["amount"],
        "to_address": row["address"],
        "deposit_address": row["deposit_address"],
        "status": "awaiting_deposit",
        "created_at": to_iso(row["created_at"]),
    }
