"""Faucet on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway.shapes import Body, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books
from deploy.local.sandbox.model.faucet import Faucet


class FaucetHandler:
    """Requests of the faucet in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._faucet = Faucet(books)

    def claim_dollar(self, agent_id: str, _body: Mapping[str, Any]) -> Body:
        """`claim {}`: one dollar, once."""
        claim_id = self._faucet.claim_dollar(agent_id)
        return {"agent_id": agent_id, "claim_id": claim_id, "credited": to_usd(MICROS), "referral_tracked": False}

    def read_stats(self, _agent_id: str, _query: Mapping[str, str]) -> Body:
        """`stats`: how many have claimed, of all agents."""
        claims = self._faucet.count_claims()
        return {"total_claims": claims, "total_credited_usd": to_usd(claims * MICROS)}

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: whether the agent has claimed, told by its ledger row."""
        self._books.require_agent(agent_id)
        row = self._faucet.find_claim(agent_id)
        return {
            "agent_id": agent_id,
            "can_claim": row is None,
            "claim_id": None if row is None else row["reference"],
            "claimed_at": None if row is None else to_iso(row["created_at"]),
            "credited_usd": to_usd(0 if row is None else row["micros"]),
        }
