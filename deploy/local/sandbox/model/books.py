"""The books: agents, balances, ledger entries and the list of effects, in one SQLite file.

Every operation is one transaction, committed before it is answered, so whatever was acknowledged survives `kill -9`
of the process (write-ahead log, `synchronous = NORMAL`: a power cut may take the last commits, a kill may not).
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from deploy.local.sandbox.model.chance import Chance
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.schema import SCHEMA

MICROS = 1_000_000
"""Micro-dollars in a dollar, and microseconds in a second."""

CASINO = "casino"
"""The account that casino, escrow and faucet share."""

Row = sqlite3.Row


def now_us() -> int:
    """The present time in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


class FolderInUse(Exception):
    """Another sandbox process works on this data folder."""


class Crashed(Exception):
    """The service died between two steps of an operation; what the steps before had written stays."""


class Books:
    """One open data folder.

    Args:
        folder: made when missing; one process at a time may use it.
        chance: source of identifiers.
        clock: gives microseconds since 1970.

    Raises:
        FolderInUse: another process holds the folder.
    """

    def __init__(self, folder: Path, chance: Chance, clock: Callable[[], int] = now_us) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.chance = chance
        self.clock = clock
        self._lock = _lock_file(folder / "sandbox.lock")
        self._database = sqlite3.connect(folder / "sandbox.sqlite", isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)
        self._request_key = ""
        self._crash = False
        self._stale: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Close the file and let another process have the folder."""
        self._database.close()
        self._lock.close()

    @contextmanager
    def open_transaction(
        self, request_key: str = "", *, crash: bool = False, stale: dict[tuple[str, str], int] | None = None
    ) -> Iterator[None]:
        """Commit what the block does, or nothing of it.

        Args:
            request_key: what the caller named its request; kept beside the effect for the truth route alone.
            crash: die at the first `step` of the operation, leaving what is written until then.
            stale: balances read before, which the operation's first posting to each writes over whatever came between.
        """
        self._database.execute("BEGIN IMMEDIATE")
        self._request_key, self._crash, self._stale = request_key, crash, dict(stale or {})
        try:
            yield
        except Crashed:
            self._database.execute("COMMIT")
            raise
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def pass_step(self) -> None:
        """A place between two steps of an operation that the real service does not do as one."""
        if self._crash:
            raise Crashed

    def query_rows(self, sql: str, *values: object) -> list[Row]:
        """All rows of a query."""
        return self._database.execute(sql, values).fetchall()

    def query_row(self, sql: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        row: Row | None = self._database.execute(sql, values).fetchone()
        return row

    def execute(self, sql: str, *values: object) -> int:
        """Run a statement; the number of rows that it changed."""
        return self._database.execute(sql, values).rowcount

    def insert_row(self, table: str, **values: object) -> None:
        """Add one row; names come from the code, never from a request."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._database.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608  names are constants of the code
            tuple(values.values()),
        )

    def register_agent(self, agent_id: str) -> bool:
        """Make an agent known to all services; False when it was known already."""
        added = self.execute("INSERT OR IGNORE INTO agents VALUES (?, 0, ?)", agent_id, self.clock())
        return added == 1

    def require_agent(self, agent_id: str) -> None:
        """Refuse an agent that nobody registered."""
        if self.query_row("SELECT 1 FROM agents WHERE agent_id = ?", agent_id) is None:
            raise Refusal(404, "agent_not_found", "Register the agent first.")

    def next_nonce(self, agent_id: str) -> int:
        """The agent's next operation number, from 1; it makes identifiers and draws unique."""
        row = self.query_row("UPDATE agents SET nonce = nonce + 1 WHERE agent_id = ? RETURNING nonce", agent_id)
        if row is None:
            raise Refusal(404, "agent_not_found", "Register the agent first.")
        return int(row["nonce"])

    def read_balance(self, agent_id: str, account: str = CASINO) -> int:
        """Micro-dollars on one account of an agent."""
        row = self.query_row("SELECT micros FROM balances WHERE agent_id = ? AND account = ?", agent_id, account)
        return 0 if row is None else int(row["micros"])

    def post_entry(
        self, agent_id: str, micros: int, reason: str, reference: str, service: str, *, account: str = CASINO
    ) -> int:
        """Add a signed amount to an account with its ledger row; the balance afterwards."""
        before = self._stale.pop((agent_id, account), None)
        after = (self.read_balance(agent_id, account) if before is None else before) + micros
        self.execute("INSERT OR REPLACE INTO balances VALUES (?, ?, ?)", agent_id, account, after)
        self.insert_row(
            "entries", agent_id=agent_id, account=account, micros=micros, balance_after=after,
            reason=reason, reference=reference, service=service, created_at=self.clock(),
        )  # fmt: skip
        if self._request_key:
            self.execute("INSERT INTO entry_keys VALUES (last_insert_rowid(), ?)", self._request_key)
        return after

    def record_effect(self, service: str, operation: str, agent_id: str, reference: str) -> None:
        """Note for the truth route that something was done once more."""
        self.insert_row(
            "effects", service=service, operation=operation, agent_id=agent_id, reference=reference,
            request_key=self._request_key, created_at=self.clock(),
        )  # fmt: skip

    def read_balances(self, agent_id: str) -> dict[tuple[str, str], int]:
        """All balances of an agent, by agent and account."""
        rows = self.query_rows("SELECT account, micros FROM balances WHERE agent_id = ?", agent_id)
        return {(agent_id, row["account"]): row["micros"] for row in rows}

    def record_fault(self, fault: str, service: str, operation: str, agent_id: str, request_key: str) -> None:
        """Note for the truth route that something went wrong on purpose."""
        self.insert_row(
            "injected", fault=fault, service=service, operation=operation, agent_id=agent_id, request_key=request_key,
            created_at=self.clock(),
        )  # fmt: skip

    def read_switch(self, name: str, default: Any) -> Any:
        """A setting of the sandbox that outlives its process."""
        row = self.query_row("SELECT value FROM switches WHERE name = ?", name)
        return default if row is None else json.loads(row["value"])

    def set_switch(self, name: str, value: Any) -> None:
        """Keep a setting."""
        self.execute("INSERT OR REPLACE INTO switches VALUES (?, ?)", name, json.dumps(value))


def _lock_file(path: Path) -> IO[str]:
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise FolderInUse(f"{path.parent} is in use by another sandbox; stop that one first.") from None
    return handle
