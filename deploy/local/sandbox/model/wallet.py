"""The wallet: addresses with USDC on them. A transfer that left is found by nobody but through the chain."""

from __future__ import annotations

import re

from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.refusal import Refusal

CHAINS = ("base", "ethereum", "solana")

_ADDRESS = re.compile(r"[A-Za-z0-9]{8,80}\Z")


class Wallet:
    """Addresses, balances, transfers."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create(self, agent_id: str, chain: str, *, counted: bool = True) -> Row:
        """Make another address; calling twice makes two, as at the real service. One of several counts as effect."""
        check_chain(chain)
        nonce = self._books.next_nonce(agent_id)
        address = "0x" + self._books.chance.digest("address", agent_id, nonce).hex()[:40]
        now = self._books.clock()
        self._books.insert("addresses", address=address, agent_id=agent_id, chain=chain, created_at=now)
        if counted:
            self._books.record_effect("wallet", "create", agent_id, address)
        return self.address(address)

    def address(self, address: str) -> Row:
        """One address."""
        row = self._books.row("SELECT * FROM addresses WHERE address = ?", address)
        if row is None:
            raise Refusal(404, "address_not_found", "The sandbox has no such address.")
        return row

    def addresses(self, agent_id: str) -> list[Row]:
        """All addresses of an agent, newest first."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM addresses WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC"
        return self._books.rows(sql, agent_id)

    def balance(self, row: Row) -> int:
        """Micro-USDC on an address."""
        return self._books.balance(row["agent_id"], account_of(row["address"]))

    def current(self, agent_id: str, chain: str) -> Row:
        """The agent's newest address on a chain."""
        check_chain(chain)
        for row in self.addresses(agent_id):
            if row["chain"] == chain:
                return row
        raise Refusal(400, "invalid_request", f"This agent has no address on {chain}.")

    def send(self, agent_id: str, chain: str, target: str, amount: int, *, source: str | None = None) -> Row:
        """Send from an address, the agent's newest when none is named; any failure is called `send_failed`."""
        row = self.current(agent_id, chain) if source is None else self.address(source)
        if not _ADDRESS.match(target) or amount <= 0:
            raise Refusal(400, "invalid_request", "An address and an amount above 0 are needed.")
        if amount > self.balance(row):
            raise Refusal(400, "send_failed", "transfer amount exceeds balance")
        tx_hash = "0x" + self._books.chance.digest("tx", agent_id, self._books.next_nonce(agent_id)).hex()
        self._move(agent_id, row["address"], target, amount, tx_hash)
        self._books.insert(
            "transfers", tx_hash=tx_hash, agent_id=agent_id, chain=chain, source=row["address"], target=target,
            amount=amount, created_at=self._books.clock(),
        )  # fmt: skip
        self._books.record_effect("wallet", "send", agent_id, tx_hash)
        sent = self._books.row("SELECT * FROM transfers WHERE tx_hash = ?", tx_hash)
        if sent is None:
            raise Refusal(500, "send_failed")
        return sent

    def _move(self, agent_id: str, source: str, target: str, amount: int, tx_hash: str) -> None:
        books = self._books
        books.post(agent_id, -amount, "send", tx_hash, "wallet", account=account_of(source))
        known = books.row("SELECT agent_id FROM addresses WHERE address = ?", target)
        if known is not None:
            books.post(known["agent_id"], amount, "receive", tx_hash, "wallet", account=account_of(target))


def account_of(address: str) -> str:
    """Name of an address's account in the books."""
    return f"wallet:{address}"


def check_chain(chain: str) -> None:
    """Refuse a chain that the wallet lacks."""
    if chain not in CHAINS:
        raise Refusal(400, "unsupported_chain", f"chain is one of {', '.join(CHAINS)}.")
