"""Accounts of the services' own kind: an id and a key made by the service, of which it keeps the digest alone.

Casino, escrow and faucet share one registration; trading, wallet and domains have one each, unrelated to the others.
"""

from __future__ import annotations

import hashlib

from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.refusal import Refusal

PREFIXES = {"casino": "sk_live_", "trading": "sk_trade_", "wallet": "pk_live_", "domains": "sk_domains_"}
"""How a service's keys begin; nobody checks it."""

REGISTERS = {"escrow": "casino", "faucet": "casino"}
"""Services that take another's registration."""


class Keys:
    """Registrations."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_account(self, service: str) -> tuple[str, str]:
        """Make an account; its id and its key, which is not shown again."""
        books = self._books
        row = books.query_row("SELECT count(*) AS n FROM keys")
        number = int(row["n"]) if row else 0
        account = "ag_" + books.chance.derive_bytes("account", service, number).hex()[:12]
        key = PREFIXES[service] + books.chance.derive_bytes("key", service, number).hex()[:48]
        books.insert_row("keys", digest=_digest_key(key), service=service, agent_id=account)
        books.register_agent(account)
        books.record_effect(service, "join", account, account)
        return account, key

    def find_account(self, service: str, key: str) -> str:
        """Whose key it is; refuses one that nobody has."""
        kept_by = REGISTERS.get(service, service)
        row = self._books.query_row(
            "SELECT agent_id FROM keys WHERE digest = ? AND service = ?", _digest_key(key), kept_by
        )
        if row is None:
            raise Refusal(401, "unauthorized", "Invalid API key")
        return str(row["agent_id"])


def _digest_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
