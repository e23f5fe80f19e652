"""Attesting the ledger: recomputing every account, and folding the heads into one root.

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
from agentstate.money.audit.verify import ORIGIN, AccountWalk, Point, find_unbalanced
from agentstate.money.ledger.accounts import Account, read_account_page
from agentstate.money.reconciliation.books_snapshot import open_snapshot
from agentstate.money.reconciliation.breaks import Breaks, Sighting
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import account_snapshots, attestations, entries
from agentstate.store.upsert import insert_new

PAGE = 200
"""Accounts that are read as of one moment."""

ROTATION = 30
"""Runs in which every account is recomputed from its first entry once."""

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
        run, begun = self._start_run(whole=whole), time.monotonic()
        after: UUID | None = None
        while page := self._verify_page(run, after):
            after = page[-1].id
            if self._stopping.is_set() or time.monotonic() - begun > self._within_s:
                raise Unavailable("attesting was stopped; the next run goes on from the accounts that were done.")
        with open_snapshot(self._store) as connection:
            run.damages += [Damage(**found) for found in find_unbalanced(connection)]
        return self._finish_run(run)

    def history(self, limit: int = 20) -> list[Attestation]:
        """Return the newest attestations, newest first."""
        statement = sa.select(attestations).order_by(attestations.c.number.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_load_attestation(row) for row in connection.execute(statement)]

    def _start_run(self, *, whole: bool) -> _Run:
        with self._store.read_connection() as connection:
            last, now = connection.execute(sa.select(sa.func.max(attestations.c.number), db_time())).one()
            run = _Run((last or 0) + 1, now, whole)
            run.damages += _find_broken_seal(connection)
        return run

    def _verify_page(self, run: _Run, after: UUID | None) -> Sequence[Account]:
        """Verify the next accounts after `after`, store their points, and return them."""
        with open_snapshot(self._store) as connection:
            page = read_account_page(connection, after, PAGE)
            walks = _verify_accounts(connection, run, [account for _, account in page])
        marks: list[dict[str, Any]] = []
        for agent_id, account in page:
            walk = walks[account.id]
            run.entries += walk.count
            if walk.fault is not None:
                reason, seq = walk.fault.reason, walk.fault.seq
                run.damages.append(Damage(agent_id=agent_id, **asdict(account.key), seq=seq, reason=reason))
                continue
            run.root.add_leaf(_leaf_of(account.id, walk.at))
            marks += [{"account_id": account.id, **asdict(mark)} for mark in walk.marks if mark.seq]
        with self._store.transaction() as tx:
            for begin in range(0, len(marks), _INSERT):
                insert_new(tx, account_snapshots, marks[begin : begin + _INSERT])
        return [account for _, account in page]

    def _finish_run(self, run: _Run) -> Attestation:
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


def _verify_accounts(connection: Connection, run: _Run, accounts: Sequence[Account]) -> dict[UUID, AccountWalk]:
    """Return the finished walks over these accounts."""
    attested = _read_points(connection, [account.id for account in accounts])
    walks = {}
    for account in accounts:
        known = attested[account.id]
        start = ORIGIN if run.starts_at_origin(account.id) or not known else known[max(known)]
        walks[account.id] = AccountWalk(account, known, start)
    for row in _read_entries(connection, {account: walk.at.seq for account, walk in walks.items()}):
        walks[row.account_id].verify_entry(row)
    for walk in walks.values():
        walk.finish()
    return walks


def _read_points(connection: Connection, accounts: Sequence[UUID]) -> Mapping[UUID, dict[int, Point]]:
    points: dict[UUID, dict[int, Point]] = defaultdict(dict)
    table = account_snapshots.c
    for row in connection.execute(sa.select(account_snapshots).where(table.account_id.in_(accounts))):
        points[row.account_id][row.seq] = Point(row.seq, row.balance, row.head)
    return points


def _read_entries(connection: Connection, starts: Mapping[UUID, int]) -> sa.Result[Any]:
    """Return the entries of each account from its start on, by account and number."""
    table, whole = entries.c, [account for account, seq in starts.items() if seq == 0]
    tails = [(table.account_id == account) & (table.seq >= seq) for account, seq in starts.items() if seq]
    statement = sa.select(entries).where(sa.or_(table.account_id.in_(whole), *tails))
    ordered = statement.order_by(table.account_id, table.seq).execution_options(yield_per=_BATCH)
    return connection.execute(ordered)


def _find_broken_seal(connection: Connection) -> list[Damage]:
    """Return the first stored attestation that was changed or removed, if there is one."""
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


def _leaf_of(account: UUID, point: Point) -> bytes:
    return account.bytes + f"|{point.seq}|{point.balance}|".encode() + (point.head or bytes(32))


def _seal_of(before: bytes | None, values: Mapping[str, Any]) -> bytes:
    numbers = f"|{values['number']}|{values['accounts']}|{values['entries']}".encode()
    return hashlib.sha256((before or bytes(32)) + values["root"] + numbers).digest()


def _load_attestation(row: sa.Row[Any]) -> Attestation:
    fields = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name
    return Attestation(**fields | {"damages": tuple(Damage(**damage) for damage in row.damages)})
