"""Swap orders on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, iso
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.swaps import Swaps


class SwapsFace:
    """Requests about swaps."""

    def __init__(self, books: Books) -> None:
        self._swaps = Swaps(books)

    def swap(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`swap {from_chain, to_chain, from_token, to_token, amount, to_address}`."""
        inputs.micros_text(body, "amount")
        row = self._swaps.order(
            agent_id,
            inputs.text(body, "from_chain", "unsupported_chain"),
            inputs.text(body, "to_chain", "unsupported_chain"),
            str(body["amount"]),
            inputs.text(body, "to_address"),
        )
        return swap_body(row)

    def activity(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`activity`: swaps and referrals, no transfers."""
        return {"swaps": [swap_body(row) for row in self._swaps.list(agent_id)], "referrals": []}

    def status(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`swap-status?order_id`: where the order stands at the exchange."""
        row = self._swaps.by_order(query.get("order_id", ""))
        return {"order_id": row["order_id"], "status": "awaiting_deposit"}


def swap_body(row: Row) -> Body:
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
        "created_at": iso(row["created_at"]),
    }
