"""The faucet over HTTP: on the gateway, and its own routes, which need no key and have no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books
from deploy.local.sandbox.model.casino import Faucet


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


class FaucetRoutes:
    """The faucet's own routes."""

    def __init__(self, books: Books) -> None:
        self._face = FaucetHandler(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write_route("/faucet/claim", "claim", self.claim_dollar, public=True),
            read_route(
                "/faucet/stats", "stats", lambda who, given: self._face.read_stats(who, given.query), public=True
            ),
        )

    def claim_dollar(self, _who: str, given: RequestData) -> Body:
        """Answer `POST /faucet/claim`."""
        return self._face.claim_dollar(values.read_text(given.body, "agent_casino_id"), given.body)
