"""The books: agents, balances, ledger entries and the list of effects, in one SQLite file.

Every operation is one transaction, committed before it is answered, so acknowledged operations survive `kill -9`
of the process (write-ahead log, `synchronous = NORMAL`: a power cut may take the last commits, a kill may not).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class Refusal(Exception):
    """A service refused the operation; all of its writes are rolled back.

    Args:
        status: HTTP status of the answer.
        code: the service's error code.
        message: the sentence beside the code.
        details: further members of the answer: texts, and numbers in millionths.
    """

    def __init__(self, status: int, code: str, message: str = "", /, **details: int | str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Chance:
    """Draws and identifiers derived from one seed.

    Args:
        seed: any integer; two sandboxes with one seed and one history give the same answers.
    """

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def derive_bytes(self, *parts: str | int) -> bytes:
        """32 bytes that depend on the seed and on every part."""
        text = "\x1f".join(str(part) for part in parts)
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def draw_below(self, limit: int, *parts: str | int) -> int:
        """A whole number from 0 to `limit` - 1; the bias of the remainder is under 2**-64 for small limits."""
        return int.from_bytes(self.derive_bytes(*parts)[:16], "big") % limit

    def make_token(self, prefix: str, *parts: str | int) -> str:
        """An identifier such as `bet_5f0c…`, 96 bits long."""
        return f"{prefix}_{self.derive_bytes(prefix, *parts).hex()[:24]}"


SCHEMA = """
CREATE TABLE IF NOT EXISTS agents (
    agent_id TEXT PRIMARY KEY, nonce INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS balances (
    agent_id TEXT NOT NULL, account TEXT NOT NULL, micros INTEGER NOT NULL, PRIMARY KEY (agent_id, account)
) STRICT;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, account TEXT NOT NULL, micros INTEGER NOT NULL,
    balance_after INTEGER NOT NULL, reason TEXT NOT NULL, reference TEXT NOT NULL, service TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_of_account ON entries (agent_id, account, created_at);
CREATE INDEX IF NOT EXISTS entries_by_reference ON entries (agent_id, service, reference);
CREATE TABLE IF NOT EXISTS entry_keys (entry_id INTEGER PRIMARY KEY, request_key TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_key ON entry_keys (request_key);
CREATE TABLE IF NOT EXISTS effects (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, operation TEXT NOT NULL, agent_id TEXT NOT NULL,
    reference TEXT NOT NULL, request_key TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS effects_by_key ON effects (request_key);
CREATE INDEX IF NOT EXISTS effects_of_agent ON effects (agent_id, service, operation, reference);
CREATE TABLE IF NOT EXISTS bets (
    bet_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, game TEXT NOT NULL, choice TEXT NOT NULL,
    amount INTEGER NOT NULL, multiplier_e4 INTEGER NOT NULL, payout INTEGER NOT NULL, won INTEGER NOT NULL,
    result TEXT NOT NULL, client_seed TEXT NOT NULL, nonce INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS bets_of_agent ON bets (agent_id, created_at);
CREATE INDEX IF NOT EXISTS bets_by_seed ON bets (agent_id, client_seed);
CREATE TABLE IF NOT EXISTS escrows (
    escrow_id TEXT PRIMARY KEY, creator TEXT NOT NULL, counterparty TEXT NOT NULL, amount INTEGER NOT NULL,
    fee INTEGER NOT NULL, description TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS escrows_of_creator ON escrows (creator, created_at);
CREATE INDEX IF NOT EXISTS escrows_of_counterparty ON escrows (counterparty, created_at);
CREATE INDEX IF NOT EXISTS escrows_due ON escrows (status, due_at);
CREATE TABLE IF NOT EXISTS positions (
    position_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, coin TEXT NOT NULL, side TEXT NOT NULL,
    units_e8 INTEGER NOT NULL, notional INTEGER NOT NULL, entry_price INTEGER NOT NULL, leverage INTEGER NOT NULL,
    margin INTEGER NOT NULL, fee INTEGER NOT NULL, status TEXT NOT NULL, exit_price INTEGER, pnl INTEGER,
    close_fee INTEGER,
    opened_at INTEGER NOT NULL, closed_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS positions_of_agent ON positions (agent_id, status, opened_at);
CREATE TABLE IF NOT EXISTS domains (
    domain TEXT PRIMARY KEY, domain_id TEXT NOT NULL, agent_id TEXT NOT NULL, price INTEGER NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS domains_of_agent ON domains (agent_id, created_at);
CREATE TABLE IF NOT EXISTS addresses (
    address TEXT PRIMARY KEY, agent_id TEXT NOT NULL, chain TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS addresses_of_agent ON addresses (agent_id, chain, created_at);
CREATE TABLE IF NOT EXISTS transfers (
    tx_hash TEXT PRIMARY KEY, agent_id TEXT NOT NULL, chain TEXT NOT NULL, source TEXT NOT NULL,
    target TEXT NOT NULL, amount INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    agent_id TEXT NOT NULL, route TEXT NOT NULL, request_key TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (agent_id, route, request_key)
) STRICT;
CREATE TABLE IF NOT EXISTS withdrawals (
    withdrawal_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, fee INTEGER NOT NULL,
    address TEXT NOT NULL, status TEXT NOT NULL, tx_hash TEXT, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS withdrawals_of_agent ON withdrawals (agent_id, created_at);
CREATE TABLE IF NOT EXISTS daily (
    bonus_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, streak INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS daily_of_agent ON daily (agent_id, claimed_at);
CREATE TABLE IF NOT EXISTS referrals (
    agent_id TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, referred_by TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS deposit_addresses (agent_id TEXT PRIMARY KEY, micros INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS deposits (
    tx_hash TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, coin TEXT NOT NULL, side TEXT NOT NULL, size INTEGER NOT NULL,
    price INTEGER NOT NULL, leverage INTEGER NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS orders_of_agent ON orders (agent_id, created_at);
CREATE INDEX IF NOT EXISTS orders_open ON orders (status);
CREATE TABLE IF NOT EXISTS swaps (
    swap_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, order_id TEXT NOT NULL, source TEXT NOT NULL,
    target TEXT NOT NULL, amount TEXT NOT NULL, address TEXT NOT NULL, deposit_address TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS swaps_of_agent ON swaps (agent_id, created_at);
CREATE TABLE IF NOT EXISTS registrar (domain TEXT PRIMARY KEY, agent_id TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS renewals (
    id INTEGER PRIMARY KEY, domain TEXT NOT NULL, agent_id TEXT NOT NULL, price INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    digest TEXT PRIMARY KEY, service TEXT NOT NULL, agent_id TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS injected (
    id INTEGER PRIMARY KEY, fault TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
    agent_id TEXT NOT NULL, request_key TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS switches (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


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
    """The service died between two steps of an operation; the writes of earlier steps stay."""


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
        self._crash = ""
        self._stale: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Close the file and let another process have the folder."""
        self._database.close()
        self._lock.close()

    @contextmanager
    def open_transaction(
        self, request_key: str = "", *, crash: str = "", stale: dict[tuple[str, str], int] | None = None
    ) -> Iterator[None]:
        """Commit all writes of the block, or none of them.

        Args:
            request_key: what the caller named its request; kept beside the effect for the truth route alone.
            crash: die at the first step of the operation that has this name, leaving what is written until then.
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

    def pass_step(self, name: str = "crash_between_steps") -> None:
        """Mark a place between two steps of an operation that the real service does not do as one."""
        if self._crash == name:
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
        """Refuse an agent that is not registered."""
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
