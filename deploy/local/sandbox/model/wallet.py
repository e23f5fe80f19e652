"""The wallet: addresses with USDC on them, and swap orders. A sent transfer can be found through the chain alone."""

from __future__ import annotations

import re

from deploy.local.sandbox.model.books import Books, Refusal, Row

CHAINS = ("base", "ethereum", "solana")
CONTRACTS = {
    "base": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    "ethereum": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
    "solana": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",  # pragma: allowlist secret
}
"""USDC by chain, as the real chains have it."""

_ADDRESS = re.compile(r"[A-Za-z0-9]{8,80}\Z")


class Wallet:
    """Addresses, balances, transfers."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_address(self, agent_id: str, chain: str, *, counted: bool = True) -> Row:
        """Make another address; calling twice makes two, as at the real service. One of several counts as effect."""
        check_chain(chain)
        nonce = self._books.next_nonce(agent_id)
        address = "0x" + self._books.chance.derive_bytes("address", agent_id, nonce).hex()[:40]
        now = self._books.clock()
        self._books.insert_row("addresses", address=address, agent_id=agent_id, chain=chain, created_at=now)
        if counted:
            self._books.record_effect("wallet", "create", agent_id, address)
        return self.get_address(address)

    def get_address(self, address: str) -> Row:
        """One address."""
        row = self._books.query_row("SELECT * FROM addresses WHERE address = ?", address)
        if row is None:
            raise Refusal(404, "address_not_found", "The sandbox has no such address.")
        return row

    def list_addresses(self, agent_id: str) -> list[Row]:
        """All addresses of an agent, newest first."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM addresses WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC"
        return self._books.query_rows(sql, agent_id)

    def read_balance(self, row: Row) -> int:
        """Micro-USDC on an address."""
        return self._books.read_balance(row["agent_id"], account_of(row["address"]))

    def read_address(self, address: str) -> int:
        """Micro-USDC on an address of any agent; 0 on one that nobody made here."""
        row = self._books.query_row("SELECT * FROM addresses WHERE address = ?", address)
        return 0 if row is None else self.read_balance(row)

    def newest_address(self, agent_id: str, chain: str) -> Row:
        """The agent's newest address on a chain."""
        check_chain(chain)
        for row in self.list_addresses(agent_id):
            if row["chain"] == chain:
                return row
        raise Refusal(400, "invalid_request", f"This agent has no address on {chain}.")

    def send_usdc(self, agent_id: str, chain: str, target: str, amount: int) -> Row:
        """Send from the agent's newest address on the chain; any failure is called `send_failed`."""
        row = self.newest_address(agent_id, chain)
        if not _ADDRESS.match(target) or amount <= 0:
            raise Refusal(400, "invalid_request", "An address and an amount above 0 are needed.")
        if amount > self.read_balance(row):
            raise Refusal(400, "send_failed", "transfer amount exceeds balance")
        tx_hash = "0x" + self._books.chance.derive_bytes("tx", agent_id, self._books.next_nonce(agent_id)).hex()
        books = self._books
        books.post_entry(agent_id, -amount, "send", tx_hash, "wallet", account=account_of(row["address"]))
        known = books.query_row("SELECT agent_id FROM addresses WHERE address = ?", target)
        if known is not None:
            books.post_entry(known["agent_id"], amount, "receive", tx_hash, "wallet", account=account_of(target))
        self._books.insert_row(
            "transfers", tx_hash=tx_hash, agent_id=agent_id, chain=chain, source=row["address"], target=target,
            amount=amount, created_at=self._books.clock(),
        )  # fmt: skip
        self._books.record_effect("wallet", "send", agent_id, tx_hash)
        sent = self._books.query_row("SELECT * FROM transfers WHERE tx_hash = ?", tx_hash)
        if sent is None:
            raise Refusal(500, "send_failed")
        return sent


def account_of(address: str) -> str:
    """Name of an address's account in the books."""
    return f"wallet:{address}"


def check_chain(chain: str) -> None:
    """Refuse a chain that the wallet lacks."""
    if chain not in CHAINS:
        raise Refusal(400, "unsupported_chain", f"chain is one of {', '.join(CHAINS)}.")


class Swaps:
    """Orders; the status in the list is never updated, as at the real service."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_order(self, agent_id: str, source: str, target: str, amount: str, address: str) -> Row:
        """Make an order of an amount in the token's smallest units; asking twice makes two."""
        books = self._books
        books.require_agent(agent_id)
        if source not in CHAINS or target not in CHAINS or not amount.isdecimal():
            raise Refusal(400, "swap_failed", "Wagyu quote failed: chain or amount")
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
