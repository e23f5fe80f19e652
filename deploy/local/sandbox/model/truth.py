"""The truth: exact balances, effects counted by reference, and every ledger row. For tests and reports alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.trading import Trading

_ENTRIES = "SELECT entries.*, request_key FROM entries LEFT JOIN entry_keys ON entry_id = id"


class Truth:
    """Reads the exact books."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._escrows = Escrows(books)
        self._trading = Trading(books)

    def read_all(self, agent_id: str | None) -> dict[str, Any]:
        """Everything about one agent, or about all."""
        statements = {
            "agents": "SELECT agent_id FROM agents WHERE ? IS NULL OR agent_id = ? ORDER BY agent_id",
            "effects": "SELECT service, operation, agent_id, reference, request_key, count(*) AS count FROM effects "
            "WHERE ? IS NULL OR agent_id = ? GROUP BY 1, 2, 3, 4, 5 ORDER BY min(id)",
            "ledger": f"{_ENTRIES} WHERE ? IS NULL OR agent_id = ? ORDER BY id",
            "injected": "SELECT fault, service, operation, agent_id, request_key FROM injected "
            "WHERE ? IS NULL OR agent_id = ? ORDER BY id",
        }
        found = {name: self._books.query_rows(sql, agent_id, agent_id) for name, sql in statements.items()}
        return {
            "agents": {row["agent_id"]: self._read_agent(row["agent_id"]) for row in found["agents"]},
            "effects": [dict(row) for row in found["effects"]],
            "ledger": [{**dict(row), "usd": exact_json(row["micros"])["usd"]} for row in found["ledger"]],
            "injected": [dict(row) for row in found["injected"]],
        }

    def read_request(self, request_key: str) -> dict[str, Any]:
        """Return the effects, ledger rows and faults of one request key."""
        effects = "SELECT service, operation, agent_id, reference FROM effects WHERE request_key = ? ORDER BY id"
        entries = f"{_ENTRIES} WHERE request_key = ? ORDER BY id"
        faults = "SELECT fault FROM injected WHERE request_key = ? ORDER BY id"
        return {
            "effects": [dict(row) for row in self._books.query_rows(effects, request_key)],
            "ledger": [dict(row) for row in self._books.query_rows(entries, request_key)],
            "injected": [row["fault"] for row in self._books.query_rows(faults, request_key)],
        }

    def _read_agent(self, agent_id: str) -> dict[str, Any]:
        sql = "SELECT account, micros FROM balances WHERE agent_id = ? ORDER BY account"
        accounts = {row["account"]: row["micros"] for row in self._books.query_rows(sql, agent_id)}
        wallet = sum(micros for name, micros in accounts.items() if name.startswith("wallet:"))
        locked = self._escrows.sum_locked(agent_id)
        return {
            "accounts": {name: exact_json(micros) for name, micros in accounts.items()},
            "escrow_locked": exact_json(locked),
            "wallet": exact_json(wallet),
            "margin_used": exact_json(self._trading.margin_used(agent_id)),
            "total": exact_json(sum(accounts.values()) + locked),
        }


def exact_json(micros: int) -> dict[str, Any]:
    """An amount twice: micro-dollars as an integer, and dollars as decimal text."""
    return {"micros": micros, "usd": format(Decimal(micros).scaleb(-6), "f")}
