"""Swap orders of the wallet: an address to pay in at, and nothing else until somebody does."""

from __future__ import annotations

from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.wallet import check_chain


class Swaps:
    """Orders; the status in the list is never updated, as at the real service."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_order(self, agent_id: str, source: str, target: str, amount: str, address: str) -> Row:
        """Make an order; asking twice makes two."""
        books = self._books
        books.require_agent(agent_id)
        check_chain(source)
        check_chain(target)
        if source == target:
            raise Refusal(400, "same_chain", "The chains are the same.")
        nonce = books.next_nonce(agent_id)
        swap_id = books.chance.make_token("swap", agent_id, nonce)
        books.insert_row(
            "swaps", swap_id=swap_id, agent_id=agent_id, order_id=books.chance.make_token("wagyu", agent_id, nonce),
            source=source, target=target, amount=amount, address=address,
            deposit_address="0x" + books.chance.derive_bytes("swap", agent_id, nonce).hex()[:40],
            created_at=books.clock(),
        )  # fmt: skip
        books.record_effect("wallet", "swap", agent_id, swap_id)
        return self.list_orders(agent_id)[0]

    def list_orders(self, agent_id: str) -> list[Row]:
        """The newest 50."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM swaps WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 50"
        return self._books.query_rows(sql, agent_id)

    def find_order(self, order_id: str) -> Row:
        """One order by the id of the exchange that carries it out."""
        row = self._books.query_row("SELECT * FROM swaps WHERE order_id = ?", order_id)
        if row is None:
            raise Refusal(400, "status_check_failed", "There is no such order.")
        return row
