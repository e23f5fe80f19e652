"""Referrals: a tenth of what a referred agent loses goes to whoever referred it, without any call of theirs."""

from __future__ import annotations

from deploy.local.sandbox.model.books import Books

SHARE = 10
"""One part in ten of a loss."""


class Referrals:
    """Codes, who referred whom, and what that brought."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def join_agent(self, agent_id: str, code: str | None) -> str:
        """Note a new agent with the code that it came by, if any; its own code. An unknown code counts as none."""
        books = self._books
        own = books.chance.make_token("ref", agent_id)[:12]
        found = books.query_row("SELECT agent_id FROM referrals WHERE code = ?", code) if code else None
        books.execute(
            "INSERT OR IGNORE INTO referrals VALUES (?, ?, ?)", agent_id, own, found["agent_id"] if found else None
        )
        return own

    def get_code(self, agent_id: str) -> str:
        """The agent's own code."""
        row = self._books.query_row("SELECT code FROM referrals WHERE agent_id = ?", agent_id)
        return str(row["code"]) if row else self.join_agent(agent_id, None)

    def credit_referrer(self, agent_id: str, lost: int, reference: str) -> None:
        """Give the referrer its part of a loss, in whole cents."""
        row = self._books.query_row("SELECT referred_by FROM referrals WHERE agent_id = ?", agent_id)
        part = lost // SHARE // 10_000 * 10_000
        if row is not None and row["referred_by"] is not None and part > 0:
            self._books.post_entry(row["referred_by"], part, "referral_commission", reference, "casino")

    def sum_earned(self, agent_id: str) -> tuple[int, int]:
        """How many agents it referred, and micro-dollars that they brought."""
        referred = self._books.query_row("SELECT count(*) AS n FROM referrals WHERE referred_by = ?", agent_id)
        brought = self._books.query_row(
            "SELECT coalesce(sum(micros), 0) AS n FROM entries WHERE agent_id = ? AND reason = 'referral_commission'",
            agent_id,
        )
        return int(referred["n"]) if referred else 0, int(brought["n"]) if brought else 0
