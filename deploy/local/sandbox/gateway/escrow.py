"""Escrow on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, cents, iso, usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.escrow import LISTED, Escrows


class EscrowFace:
    """Requests of the escrow service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._escrows = Escrows(books)

    def create(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`create {counterparty_agent_id, amount_usd, description, timeout_hours?}`."""
        row = self._escrows.create(
            agent_id,
            inputs.text(body, "counterparty_agent_id", "invalid_counterparty"),
            inputs.micros(body, "amount_usd"),
            inputs.text(body, "description", "invalid_description"),
            inputs.whole(body, "timeout_hours", 24, "invalid_timeout"),
        )
        return _escrow(row)

    def complete(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`complete {escrow_id}`, by the counterparty."""
        return _escrow(self._escrows.complete(agent_id, inputs.text(body, "escrow_id")))

    def release(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`release {escrow_id}`, by the creator."""
        return _escrow(self._escrows.release(agent_id, inputs.text(body, "escrow_id")))

    def dispute(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`dispute {escrow_id}`, by either side."""
        return _escrow(self._escrows.dispute(agent_id, inputs.text(body, "escrow_id")))

    def get(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`get?escrow_id`: public."""
        return _escrow(self._escrows.get(query.get("escrow_id", "")))

    def stats(self, _agent_id: str, _query: Mapping[str, str]) -> Body:
        """`stats`: sums over all escrows."""
        return escrow_stats(self._escrows)

    def state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: what the agent has locked, and the newest 200 escrows on either side."""
        rows = self._escrows.of_agent(agent_id)
        return {
            "agent_id": agent_id,
            "balance_usd": usd(self._books.balance(agent_id)),
            "locked_usd": usd(self._escrows.locked(agent_id)),
            "escrows": [_escrow(row) for row in rows],
            "truncated": len(rows) == LISTED,
        }


def _escrow(row: Row) -> Body:
    return {
        "escrow_id": row["escrow_id"],
        "status": row["status"],
        "creator_agent_id": row["creator"],
        "counterparty_agent_id": row["counterparty"],
        "amount_usd": usd(row["amount"]),
        "commission_usd": usd(row["fee"]),
        "net_to_counterparty": usd(row["amount"] - row["fee"]),
        "description": row["description"],
        "created_at": iso(row["created_at"]),
        "changed_at": iso(row["changed_at"]),
        "auto_release_at": iso(row["due_at"]),
    }


def escrow_stats(escrows: Escrows) -> Body:
    """Counts and volumes of all escrows, rounded to cents."""
    row = escrows.stats()
    if row is None:
        return {}
    return {
        "total_created": row["created"],
        "total_released": row["released"],
        "total_disputed": row["disputed"],
        "total_volume_usd": cents(row["volume"]),
        "total_commission_usd": cents(row["fees"]),
        "commission_rate": "1%",
    }
