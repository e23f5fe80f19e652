"""Registration and test money: what the real services do through sign-up pages and deposits on a chain."""

from __future__ import annotations

from deploy.local.sandbox.model.books import CASINO, Books
from deploy.local.sandbox.model.referrals import Referrals
from deploy.local.sandbox.model.refusal import Refusal

MOST = 1_000_000_000_000
"""Largest deposit: one million dollars in micro-dollars."""


class Funding:
    """Opens agents and puts money on their accounts."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._referrals = Referrals(books)

    def register_agent(self, agent_id: str, code: str | None = None) -> bool:
        """Make an agent known, with the referral code that it came by; False when it was known already."""
        added = self._books.register_agent(agent_id)
        if added:
            self._referrals.join_agent(agent_id, code)
            self._books.record_effect("casino", "register", agent_id, agent_id)
        return added

    def deposit_money(self, agent_id: str, service: str, amount: int, reference: str, account: str = CASINO) -> int:
        """Put `amount` on an account; the balance afterwards.

        A non-empty `reference` is honoured as a key: the second deposit with it changes nothing.
        """
        books = self._books
        books.require_agent(agent_id)
        if not 0 < amount <= MOST:
            raise Refusal(400, "invalid_amount", "A deposit is above 0 and at most 1,000,000.")
        if reference and self._is_known_reference(agent_id, service, reference):
            return books.read_balance(agent_id, account)
        books.record_effect(service, "deposit", agent_id, reference)
        return books.post_entry(agent_id, amount, "deposit", reference, service, account=account)

    def credit_again(self, agent_id: str) -> bool:
        """Credit the agent's newest deposit once more, as a poll does that saw it twice; whether there was one."""
        books = self._books
        sql = "SELECT * FROM entries WHERE agent_id = ? AND reason = 'deposit' ORDER BY id DESC LIMIT 1"
        row = books.query_row(sql, agent_id)
        if row is None:
            return False
        books.post_entry(
            agent_id, row["micros"], "deposit_credited", f"again_{row['id']}", row["service"], account=row["account"]
        )
        return True

    def _is_known_reference(self, agent_id: str, service: str, reference: str) -> bool:
        sql = "SELECT 1 FROM entries WHERE agent_id = ? AND service = ? AND reference = ? AND reason = 'deposit'"
        return self._books.query_row(sql, agent_id, service, reference) is not None
