"""Recomputing the chain of one account: every entry against the one before, the end against the account row.

The walk begins at an attested point, whose entry has to be there as it was attested, or at nothing; it ends at the
first fault, which is named by its entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentstate.money.ledger.accounts import Account
from agentstate.money.ledger.chain import hash_entry

SNAPSHOT_EVERY = 1_000
"""Entries from one stored point of an account to the next, besides the one at the end of each attestation."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where an account stood after entry `seq`: its balance in minor units and the seal of that entry."""

    seq: int
    balance: int
    head: bytes | None


ORIGIN = Point(0, 0, None)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first entry that is not as it has to be, and why."""

    seq: int
    reason: str


class AccountWalk:
    """Takes the entries of `account` in order and tells the first fault."""

    def __init__(self, account: Account, attested: Mapping[int, Point], start: Point) -> None:
        self.fault: Fault | None = None
        self.count = 0
        self.marks: list[Point] = []
        """Points worth storing that are not stored yet."""
        self._account = account
        self._attested = attested
        self._start = start
        self._begun = start is ORIGIN
        self.at = start

    def take(self, row: Any) -> None:
        """The next entry: a row with seq, txn_id, amount, balance_after, recorded_at and hash."""
        if self.fault is not None:
            return
        fault = self._of_entry(row) if self._begun else self._of_start(row)
        self._begun = True
        self.fault = Fault(*fault) if fault else None

    def end(self) -> Point:
        """Hold the end against the account row; return where the walk ended."""
        fault = None if self.fault is not None else self._of_end()
        if fault:
            self.fault = Fault(*fault)
        if self.fault is None and self.at.seq not in self._attested and self.at.seq % SNAPSHOT_EVERY:
            self.marks.append(self.at)
        return self.at

    def _of_start(self, row: Any) -> tuple[int, str] | None:
        start = self._start
        if row.seq != start.seq:
            return start.seq, f"entry {start.seq} was attested and is missing"
        if (row.balance_after, row.hash) != (start.balance, start.head):
            return start.seq, f"entry {start.seq} is not as it was attested"
        return None

    def _of_entry(self, row: Any) -> tuple[int, str] | None:
        before, seq = self.at, self.at.seq + 1
        if row.seq != seq:
            return seq, f"entry {seq} is missing; the next one is {row.seq}"
        after = before.balance + row.amount
        if row.balance_after != after:
            return seq, f"entry {seq} says a balance of {row.balance_after}; recomputed it is {after}"
        if row.hash != self._sealed(before, row):
            return seq, f"entry {seq} does not match its seal"
        self.at, self.count = Point(seq, after, row.hash), self.count + 1
        return self._against_attested()

    def _sealed(self, before: Point, row: Any) -> bytes:
        return hash_entry(
            before.head,
            account=self._account.id,
            seq=row.seq,
            txn=row.txn_id,
            amount=row.amount,
            balance_after=row.balance_after,
            recorded_at=row.recorded_at,
        )

    def _against_attested(self) -> tuple[int, str] | None:
        known = self._attested.get(self.at.seq)
        if known is None:
            if self.at.seq % SNAPSHOT_EVERY == 0:
                self.marks.append(self.at)
            return None
        return None if known == self.at else (self.at.seq, f"entry {self.at.seq} is not as it was attested")

    def _of_end(self) -> tuple[int, str] | None:
        seq, account = self.at.seq, self._account
        if not self._begun:
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
