"""Deposits from a chain, found by polling what stands on an address: late, and not always right.

A finding is told from others by address and amount alone. So 5 dollars and then 3 more before the address is emptied
are credited as 5 and as 8, and another 5 later is not credited at all: both as measured at the real service.
"""

from __future__ import annotations

from deploy.local.sandbox.model.books import MICROS, Books, Row

BONUS_MOST = 25 * MICROS
"""The first deposit is doubled, up to this."""

SHOWN = 50


class Deposits:
    """Money on addresses, and the poll that finds it."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def add_on_chain(self, agent_id: str, amount: int) -> None:
        """Money reaches the agent's deposit address; nobody knows yet."""
        self._books.require_agent(agent_id)
        sql = "INSERT INTO deposit_addresses VALUES (?, ?) ON CONFLICT (agent_id) DO UPDATE SET micros = micros + ?"
        self._books.execute(sql, agent_id, amount, amount)

    def poll_addresses(self) -> int:
        """Credit what stands on the addresses and was not seen with that amount before; how many."""
        return sum(
            self._credit_finding(row)
            for row in self._books.query_rows("SELECT * FROM deposit_addresses WHERE micros > 0")
        )

    def empty_addresses(self) -> None:
        """Sweep the addresses into the treasury."""
        self._books.execute("UPDATE deposit_addresses SET micros = 0")

    def list_deposits(self, agent_id: str) -> list[Row]:
        """The newest 50 that were credited."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM deposits WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, SHOWN)

    def _credit_finding(self, row: Row) -> int:
        books, agent_id, amount = self._books, row["agent_id"], row["micros"]
        tx_hash = f"poll_{agent_id}_{amount}"
        first = books.query_row("SELECT 1 FROM deposits WHERE agent_id = ?", agent_id) is None
        added = books.execute(
            "INSERT OR IGNORE INTO deposits VALUES (?, ?, ?, ?)", tx_hash, agent_id, amount, books.clock()
        )
        if added:
            books.post_entry(agent_id, amount, "deposit_credited", tx_hash, "casino")
            if first:
                books.post_entry(agent_id, min(amount, BONUS_MOST), "deposit_bonus", tx_hash, "casino")
        return added
