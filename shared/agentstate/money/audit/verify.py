"""Verification of the entries: each account's chain recomputed, and transactions that do not sum to zero found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.money.ledger.accounts import Account
from agentstate.money.ledger.writer import hash_entry
from agentstate.store.tables.money import accounts, entries, ledger_transactions

_MOST = 20
"""Transactions that are named for each agent."""

SNAPSHOT_EVERY = 1_000
"""Entries from one stored point of an account to the next, besides the one at the end of each attestation."""


@dataclass(frozen=True, slots=True)
class Point:
    """State of an account after entry `seq`: its balance in minor units and the hash of that entry."""

    seq: int
    balance: int
    head: bytes | None


ORIGIN = Point(0, 0, None)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first entry that is wrong, and the reason."""

    seq: int
    reason: str


class AccountWalk:
    """Verifies the entries of `account` in order, each against the one before, and keeps the first fault.

    The walk begins at an attested point, whose entry has to be as it was attested, or at the first entry.
    """

    def __init__(self, account: Account, attested: Mapping[int, Point], start: Point) -> None:
        self.fault: Fault | None = None
        self.count = 0
        self.marks: list[Point] = []
        """Points worth storing that are not stored yet."""
        self.at = start
        self._account = account
        self._attested = attested
        self._start = start
        self._has_begun = start is ORIGIN

    def verify_entry(self, row: Any) -> None:
        """Verify the next entry: a row with seq, txn_id, amount, balance_after, recorded_at and hash."""
        if self.fault is not None:
            return
        reason = self._check_next(row) if self._has_begun else self._check_start(row)
        self._has_begun = True
        if reason:
            self.fault = Fault(*reason)

    def finish(self) -> Point:
        """Compare the end with the account row; return the point where the walk ended."""
        if self.fault is None and (reason := self._check_account()):
            self.fault = Fault(*reason)
        if self.fault is None and self.at.seq not in self._attested and self.at.seq % SNAPSHOT_EVERY:
            self.marks.append(self.at)
        return self.at

    def _check_start(self, row: Any) -> tuple[int, str] | None:
        start = self._start
        if row.seq != start.seq:
            return start.seq, f"entry {start.seq} was attested and is missing"
        if (row.balance_after, row.hash) != (start.balance, start.head):
            return start.seq, f"entry {start.seq} is not as it was attested"
        return None

    def _check_next(self, row: Any) -> tuple[int, str] | None:
        before, seq = self.at, self.at.seq + 1
        if row.seq != seq:
            return seq, f"entry {seq} is missing; the next one is {row.seq}"
        after = before.balance + row.amount
        if row.balance_after != after:
            return seq, f"entry {seq} says a balance of {row.balance_after}; recomputed it is {after}"
        expected = hash_entry(
            before.head,
            account=self._account.id,
            seq=row.seq,
            txn=row.txn_id,
            amount=row.amount,
            balance_after=row.balance_after,
            recorded_at=row.recorded_at,
        )
        if row.hash != expected:
            return seq, f"entry {seq} does not match its seal"
        self.at, self.count = Point(seq, after, row.hash), self.count + 1
        known = self._attested.get(seq)
        if known is None:
            if seq % SNAPSHOT_EVERY == 0:
                self.marks.append(self.at)
            return None
        return None if known == self.at else (seq, f"entry {seq} is not as it was attested")

    def _check_account(self) -> tuple[int, str] | None:
        seq, account = self.at.seq, self._account
        if not self._has_begun:
            return seq, f"entry {seq} was attested and is missing"
        if max(self._attested, default=0) > seq:
            return seq + 1, f"entry {seq + 1} is missing; it was attested up to {max(self._attested)}"
        if account.version > seq:
            return seq + 1, f"entry {seq + 1} is missing; the account counts {account.version}"
        if account.version < seq:
            return account.version + 1, f"entry {account.version + 1} is beyond the {account.version} of the account"
        if account.balance != self.at.balance:
            return seq, f"the account says a balance of {account.balance}; its entries end at {self.at.balance}"
        return None if account.head == self.at.head else (seq, "the account's head is not the seal of its last entry")


def find_unbalanced(connection: Connection) -> list[dict[str, Any]]:
    """Return the agents and transactions whose entries do not sum to zero, each with account, entry and reason.

    The sum over an agent's accounts shows at once whether all its transactions are whole; only where it does not is
    the wrong one looked for. `connection` is one of `open_snapshot`.
    """
    total = sa.func.sum(accounts.c.balance)
    grouped = sa.select(accounts.c.agent_id, accounts.c.currency, total.label("total"))
    wrong = connection.execute(grouped.group_by(accounts.c.agent_id, accounts.c.currency).having(total != 0)).all()
    return [
        found for row in wrong for found in _name_transactions(connection, row.agent_id, row.currency, int(row.total))
    ]


def _name_transactions(connection: Connection, agent_id: str, currency: str, total: int) -> Iterator[dict[str, Any]]:
    rows = connection.execute(_select_unbalanced(agent_id, currency)).all()
    for row in rows:
        line = connection.execute(_select_first_line(row.txn_id, currency)).one()
        yield {
            "agent_id": agent_id,
            "service": line.service,
            "bucket": line.bucket,
            "currency": currency,
            "seq": line.seq,
            "reason": f"the entries of {row.kind} {row.key!r} ({row.txn_id}) sum to {int(row.total)}, not to zero",
        }
    if not rows:
        reason = f"the balances of {agent_id} sum to {total}, not to zero"
        yield {
            "agent_id": agent_id, "service": "ledger", "bucket": "-", "currency": currency, "seq": None,
            "reason": reason,
        }  # fmt: skip


def _select_unbalanced(agent_id: str, currency: str) -> sa.Select[Any]:
    total = sa.func.sum(entries.c.amount)
    named = (entries.c.txn_id, ledger_transactions.c.kind, ledger_transactions.c.key)
    return (
        sa.select(*named, total.label("total"))
        .join(accounts, accounts.c.id == entries.c.account_id)
        .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
        .where(accounts.c.agent_id == agent_id, accounts.c.currency == currency)
        .group_by(*named)
        .having(total != 0)
        .limit(_MOST)
    )


def _select_first_line(txn_id: Any, currency: str) -> sa.Select[Any]:
    return (
        sa.select(accounts.c.service, accounts.c.bucket, entries.c.seq)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .where(entries.c.txn_id == txn_id, accounts.c.currency == currency)
        .order_by(entries.c.account_id, entries.c.seq)
        .limit(1)
    )
