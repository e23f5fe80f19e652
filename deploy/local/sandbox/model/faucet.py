"""The faucet: one dollar for every agent, once, onto the shared balance."""

from __future__ import annotations

from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.refusal import Refusal


class Faucet:
    """Claims; whether an agent has claimed is told by its ledger row, as at the real service."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def claim_dollar(self, agent_id: str) -> str:
        """Credit one dollar; the claim's id."""
        self._books.require_agent(agent_id)
        if self.find_claim(agent_id) is not None:
            raise Refusal(409, "already_claimed", "This agent has claimed before.")
        claim_id = self._books.chance.make_token("claim", agent_id, self._books.next_nonce(agent_id))
        self._books.post_entry(agent_id, MICROS, "faucet_claim", claim_id, "faucet")
        self._books.record_effect("faucet", "claim", agent_id, agent_id)
        return claim_id

    def count_claims(self) -> int:
        """How many agents have claimed."""
        row = self._books.query_row(
            "SELECT count(*) AS n FROM entries WHERE service = 'faucet' AND reason = 'faucet_claim'"
        )
        return int(row["n"]) if row else 0

    def find_claim(self, agent_id: str) -> Row | None:
        """The ledger row of the agent's claim, or None."""
        return self._books.query_row(
            "SELECT * FROM entries WHERE agent_id = ? AND service = 'faucet' AND reason = 'faucet_claim'", agent_id
        )
