"""Attestation of the ledger: recomputing every account, and folding the heads into one root.

Each run goes on from the points that the last one stored, so it costs only the entries since; the accounts take turns
in being recomputed from their first entry. The roots are chained and can be kept elsewhere: a history that was
rewritten as a whole, seals included, does not give the same root again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import Unavailable
from agentstate.money.ledger.accounts import Account, read_account_page
from agentstate.money.ledger.writer import hash_entry
from agentstate.money.reconciliation.books_snapshot import open_snapshot
from agentstate.money.reconciliation.breaks import Breaks, Sighting
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.minor_units import minor_sum
from agentstate.store.tables.money import account_snapshots, accounts, attestations, entries, ledger_transactions
from agentstate.store.upsert import insert_new

PAGE = 200
"""Accounts that are read as of one moment."""

ROTATION = 30
"""Runs in which every account is recomputed from its first entry once."""

_MOST = 20
"""Transactions that are named for each agent."""

SNAPSHOT_EVERY = 1_000
"""Entries from one stored point of an account to the next, besides the one at the end of each attestation."""

_BATCH = 2_000
_INSERT = 500
_LEAF, _NODE = b"\x00", b"\x01"


class MerkleRoot:
    """Merkle root over leaves that are added in order.

    Leaves and inner nodes are hashed under different prefixes, so that neither can be passed off as the other; only the
    tops of complete subtrees are kept, so a million leaves take twenty digests of memory.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._tops: list[bytes] = []

    def add_leaf(self, leaf: bytes) -> None:
        """Add one more leaf."""
        top = hashlib.sha256(_LEAF + leaf).digest()
        whole = self.leaves
        # Each trailing one-bit of the count is a whole subtree that this leaf completes.
        while whole & 1:
            top = _hash_node(self._tops.pop(), top)
            whole >>= 1
        self._tops.append(top)
        self.leaves += 1

    def compute_digest(self) -> bytes:
        """Return the 32 bytes of the root; SHA-256 of nothing when there are no leaves."""
        if not self._tops:
            return hashlib.sha256(b"").digest()
        root = self._tops[-1]
        for top in reversed(self._tops[:-1]):
            root = _hash_node(top, root)
        return root


def _hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Damage of the ledger: an entry that is not as it was posted; `seq` is None where it is no single entry."""

    agent_id: str
    service: str
    bucket: str
    currency: str
    seq: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One attestation. `root` stands for the sound accounts; the ledger is sound when there are no `damages`."""

    number: int
    accounts: int
    entries: int
    root: bytes
    seal: bytes
    damages: tuple[Damage, ...]
    started_at: datetime
    finished_at: datetime

    @property
    def is_sound(self) -> bool:
        """True if everything was as it was posted."""
        return not self.damages


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
        self._has_begun = start is ORIGIN

    def verify_entry(self, row: Any) -> None:
        """Verify the next entry: a row with seq, txn_id, amount, balance_after, recorded_at and hash."""
        if self.fault is not None:
            return
        if not self._has_begun:
            # The attested entry that the walk starts from.
            self._has_begun = True
            start = self.at
            if row.seq != start.seq:
                self.fault = Fault(start.seq, f"entry {start.seq} was attested and is missing")
            elif (row.balance_after, row.hash) != (start.balance, start.head):
                self.fault = Fault(start.seq, f"entry {start.seq} is not as it was attested")
            return
        before, seq = self.at, self.at.seq + 1
        after = before.balance + row.amount
        expected = hash_entry(
            before.head,
            account=self._account.id,
            seq=row.seq,
            txn=row.txn_id,
            amount=row.amount,
            balance_after=row.balance_after,
            recorded_at=row.recorded_at,
        )
        if row.seq != seq:
            self.fault = Fault(seq, f"entry {seq} is missing; the next one is {row.seq}")
        elif row.balance_after != after:
            reason = f"entry {seq} says a balance of {row.balance_after}; recomputed it is {after}"
            self.fault = Fault(seq, reason)
        elif row.hash != expected:
            self.fault = Fault(seq, f"entry {seq} does not match its seal")
        else:
            self.at, self.count = Point(seq, after, row.hash), self.count + 1
            known = self._attested.get(seq)
            if known is None and seq % SNAPSHOT_EVERY == 0:
                self.marks.append(self.at)
            elif known not in (None, self.at):
                self.fault = Fault(seq, f"entry {seq} is not as it was attested")

    def verify_end(self) -> None:
        """Compare the end of the walk with the account row, and mark it as worth storing."""
        if self.fault is not None:
            return
        seq, account = self.at.seq, self._account
        if not self._has_begun:
            self.fault = Fault(seq, f"entry {seq} was attested and is missing")
        elif max(self._attested, default=0) > seq:
            self.fault = Fault(seq + 1, f"entry {seq + 1} is missing; it was attested up to {max(self._attested)}")
        elif account.version > seq:
            self.fault = Fault(seq + 1, f"entry {seq + 1} is missing; the account counts {account.version}")
        elif account.version < seq:
            beyond = account.version + 1
            self.fault = Fault(beyond, f"entry {beyond} is beyond the {account.version} of the account")
        elif account.balance != self.at.balance:
            reason = f"the account says a balance of {account.balance}; its entries end at {self.at.balance}"
            self.fault = Fault(seq, reason)
        elif account.head != self.at.head:
            self.fault = Fault(seq, "the account's head is not the seal of its last entry")
        elif seq not in self._attested and seq % SNAPSHOT_EVERY:
            self.marks.append(self.at)


@dataclass(slots=True)
class _Run:
    number: int
    started_at: datetime
    whole: bool
    root: MerkleRoot = field(default_factory=MerkleRoot)
    entries: int = 0
    damages: list[Damage] = field(default_factory=list)

    def starts_at_origin(self, account: UUID) -> bool:
        """True if this account is recomputed from its first entry in this run."""
        return self.whole or (account.bytes[0] + self.number) % ROTATION == 0


class Attestor:
    """Attests the ledger of the whole fleet."""

    def __init__(self, store: Store, *, stopping: threading.Event | None = None, within_s: float | None = None) -> None:
        """An attestor of `store`.

        Args:
            store: the durable store.
            stopping: when set, a run ends between two pages of accounts.
            within_s: seconds after which a run ends between two pages; unset: no limit.
        """
        self._store = store
        self._stopping = stopping or threading.Event()
        self._within_s = inf if within_s is None else within_s
        self._breaks = Breaks(store)

    def run(self, *, whole: bool = False) -> Attestation:
        """Attest now, and open a break for each damage; `whole`: verify every account from its first entry.

        Raises:
            Unavailable: it was stopped, or its time was over. The verified accounts are stored, and the next run goes
                on from there.
        """
        begun = time.monotonic()
        with self._store.read_connection() as connection:
            last, now = connection.execute(sa.select(sa.func.max(attestations.c.number), db_time())).one()
            run = _Run((last or 0) + 1, now, whole)
            run.damages += find_broken_seal(connection)
        after: UUID | None = None
        while page := self._verify_page(run, after):
            after = page[-1].id
            if self._stopping.is_set() or time.monotonic() - begun > self._within_s:
                raise Unavailable("attesting was stopped; the next run goes on from the accounts that were done.")
        with open_snapshot(self._store) as connection:
            run.damages += find_unbalanced(connection)
        with self._store.transaction() as tx:
            for damage in run.damages:
                sighting = Sighting(
                    agent_id=damage.agent_id,
                    service=damage.service,
                    kind="ledger_damaged",
                    subject=f"{damage.bucket}:{damage.currency}:{damage.seq}",
                    evidence=asdict(damage),
                )
                self._breaks.report(sighting, tx=tx)
            row = _attestation_row(tx, run)
            # Another run may have ended meanwhile; the roots keep one order all the same.
            while not insert_new(tx, attestations, [row]):
                row = _attestation_row(tx, run)
            written = tx.connection.execute(sa.select(attestations).where(attestations.c.number == row["number"])).one()
        return _load_attestation(written)

    def history(self, limit: int = 20) -> list[Attestation]:
        """Return the newest attestations, newest first."""
        statement = sa.select(attestations).order_by(attestations.c.number.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_load_attestation(row) for row in connection.execute(statement)]

    def _verify_page(self, run: _Run, after: UUID | None) -> Sequence[Account]:
        """Verify the next accounts after `after`, store their points, and return them."""
        with open_snapshot(self._store) as connection:
            page = read_account_page(connection, after, PAGE)
            # Each account from its newest attested point, or from its first entry.
            ids, points = [account.id for _, account in page], account_snapshots
            attested: dict[UUID, dict[int, Point]] = defaultdict(dict)
            for row in connection.execute(sa.select(points).where(points.c.account_id.in_(ids))):
                attested[row.account_id][row.seq] = Point(row.seq, row.balance, row.head)
            walks = {}
            for _, account in page:
                known = attested[account.id]
                start = ORIGIN if run.starts_at_origin(account.id) or not known else known[max(known)]
                walks[account.id] = AccountWalk(account, known, start)
            whole = [account for account, walk in walks.items() if walk.at.seq == 0]
            tails = [
                (entries.c.account_id == account) & (entries.c.seq >= walk.at.seq)
                for account, walk in walks.items()
                if walk.at.seq
            ]
            statement = sa.select(entries).where(sa.or_(entries.c.account_id.in_(whole), *tails))
            ordered = statement.order_by(entries.c.account_id, entries.c.seq).execution_options(yield_per=_BATCH)
            for row in connection.execute(ordered):
                walks[row.account_id].verify_entry(row)
        marks: list[dict[str, Any]] = []
        for agent_id, account in page:
            walk = walks[account.id]
            walk.verify_end()
            run.entries += walk.count
            if walk.fault is not None:
                reason, seq = walk.fault.reason, walk.fault.seq
                run.damages.append(Damage(agent_id=agent_id, **asdict(account.key), seq=seq, reason=reason))
                continue
            end = walk.at
            run.root.add_leaf(account.id.bytes + f"|{end.seq}|{end.balance}|".encode() + (end.head or bytes(32)))
            marks += [{"account_id": account.id, **asdict(mark)} for mark in walk.marks if mark.seq]
        with self._store.transaction() as tx:
            for begin in range(0, len(marks), _INSERT):
                insert_new(tx, account_snapshots, marks[begin : begin + _INSERT])
        return [account for _, account in page]


def _attestation_row(tx: Transaction, run: _Run) -> dict[str, Any]:
    newest = sa.select(attestations).order_by(attestations.c.number.desc()).limit(1)
    last = tx.connection.execute(newest).one_or_none()
    values = {
        "number": last.number + 1 if last else 1,
        "accounts": run.root.leaves,
        "entries": run.entries,
        "root": run.root.compute_digest(),
    }
    seal = _seal_of(last.seal if last else None, values)
    damages = [asdict(damage) for damage in run.damages]
    return {**values, "seal": seal, "damages": damages, "started_at": run.started_at, "finished_at": db_time()}


def find_unbalanced(connection: Connection) -> list[Damage]:
    """Return damage for each agent and transaction with entries that do not sum to zero.

    The sum over an agent's accounts shows at once whether all its transactions are whole; only where it does not is
    the wrong one looked for. `connection` is one of `open_snapshot`.
    """
    balances, moved = minor_sum(accounts.c.balance), minor_sum(entries.c.amount)
    grouped = sa.select(accounts.c.agent_id, accounts.c.currency, balances.label("total"))
    wrong = connection.execute(grouped.group_by(accounts.c.agent_id, accounts.c.currency).having(balances != 0)).all()
    named = (entries.c.txn_id, ledger_transactions.c.kind, ledger_transactions.c.key)
    damages: list[Damage] = []
    for agent_id, currency, total in wrong:
        unbalanced = (
            sa.select(*named, moved.label("total"))
            .join(accounts, accounts.c.id == entries.c.account_id)
            .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
            .where(accounts.c.agent_id == agent_id, accounts.c.currency == currency)
            .group_by(*named)
            .having(moved != 0)
            .limit(_MOST)
        )
        rows = connection.execute(unbalanced).all()
        for row in rows:
            first_line = (
                sa.select(accounts.c.service, accounts.c.bucket, accounts.c.currency, entries.c.seq)
                .join(accounts, accounts.c.id == entries.c.account_id)
                .where(entries.c.txn_id == row.txn_id, accounts.c.currency == currency)
                .order_by(entries.c.account_id, entries.c.seq)
                .limit(1)
            )
            line = dict(connection.execute(first_line).one()._mapping)  # noqa: SLF001 SQLAlchemy's public name
            reason = f"the entries of {row.kind} {row.key!r} ({row.txn_id}) sum to {int(row.total)}, not to zero"
            damages.append(Damage(agent_id=agent_id, **line, reason=reason))
        if not rows:
            reason = f"the balances of {agent_id} sum to {int(total)}, not to zero"
            place = {"service": "ledger", "bucket": "-", "currency": currency}
            damages.append(Damage(agent_id=agent_id, **place, seq=None, reason=reason))
    return damages


def find_broken_seal(connection: Connection) -> list[Damage]:
    """Return the damage of the first stored attestation that was changed or removed, if any."""
    before: bytes | None = None
    number = 1
    for row in connection.execute(sa.select(attestations).order_by(attestations.c.number)):
        values = {"number": number, "accounts": row.accounts, "entries": row.entries, "root": row.root}
        if row.number != number or row.seal != _seal_of(before, values):
            reason = f"attestation {number} was changed or removed"
            where = {"service": "ledger", "bucket": "attestations", "currency": "-"}
            return [Damage(agent_id="-", **where, seq=number, reason=reason)]
        before, number = row.seal, number + 1
    return []


def _seal_of(before: bytes | None, values: Mapping[str, Any]) -> bytes:
    numbers = f"|{values['number']}|{values['accounts']}|{values['entries']}".encode()
    return hashlib.sha256((before or bytes(32)) + values["root"] + numbers).digest()


def _load_attestation(row: sa.Row[Any]) -> Attestation:
    fields = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name
    return Attestation(**fields | {"damages": tuple(Damage(**damage) for damage in row.damages)})
