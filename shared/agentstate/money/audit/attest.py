"""Attesting the ledger: recomputing every account, and folding the heads into one root.

Each run goes on from the points that the last one stored, so it costs what was posted since; the accounts take turns in
being recomputed from their first entry. The roots are chained and can be kept elsewhere: a history that was rewritten
whole, seals and all, does not give the same root again.
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
from agentstate.money.audit.merkle import MerkleRoot
from agentstate.money.audit.recompute import ORIGIN, AccountWalk, Fault, Point
from agentstate.money.audit.unbalanced import unbalanced
from agentstate.money.ledger.accounts import Account, read_account_page
from agentstate.money.reconciliation.books_snapshot import open_snapshot
from agentstate.money.reconciliation.breaks import Breaks, Sighting
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.attest import account_snapshots, attestations
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import entries
from agentstate.store.upsert import insert_new

PAGE = 200
"""Accounts that are read as of one moment."""

ROTATION = 30
"""Runs in which every account is recomputed from its first entry once."""

_BATCH = 2_000
_INSERT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something in the ledger that is not as it was posted; `seq` is None where it is about no single entry."""

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
    def sound(self) -> bool:
        """Whether everything was as it was posted."""
        return not self.damages


@dataclass(slots=True)
class _Run:
    number: int
    started_at: datetime
    whole: bool
    root: MerkleRoot = field(default_factory=MerkleRoot)
    entries: int = 0
    damages: list[Damage] = field(default_factory=list)

    def begins_anew(self, account: UUID) -> bool:
        """Whether this account is recomputed from its first entry in this run."""
        return self.whole or (account.bytes[0] + self.number) % ROTATION == 0


class Attestor:
    """Attests the ledger of the whole fleet."""

    def __init__(self, store: Store, *, stopping: threading.Event | None = None, within_s: float | None = None) -> None:
        """An attestor of `store`.

        Args:
            store: the durable store.
            stopping: when set, a run ends between two pages of accounts.
            within_s: so does one that has taken as many seconds; unset: it takes as long as it takes.
        """
        self._store = store
        self._stopping = stopping or threading.Event()
        self._within_s = inf if within_s is None else within_s
        self._breaks = Breaks(store)

    def run(self, *, whole: bool = False) -> Attestation:
        """Attest now; `whole`: every account from its first entry. A break is open for all damage that was found.

        Raises:
            Unavailable: it was stopped, or its time was over. What it has recomputed is stored, and the next run goes
                on from there.
        """
        run, begun = self._begin(whole=whole), time.monotonic()
        after: UUID | None = None
        while page := self._page(run, after):
            after = page[-1].id
            if self._stopping.is_set() or time.monotonic() - begun > self._within_s:
                raise Unavailable("attesting was stopped; the next run goes on from the accounts that were done.")
        with open_snapshot(self._store) as connection:
            run.damages += [Damage(**found) for found in unbalanced(connection)]
        return self._finish(run)

    def history(self, limit: int = 20) -> list[Attestation]:
        """The newest attestations, newest first."""
        statement = sa.select(attestations).order_by(attestations.c.number.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_attestation(row) for row in connection.execute(statement)]

    def _begin(self, *, whole: bool) -> _Run:
        with self._store.read_connection() as connection:
            last, now = connection.execute(sa.select(sa.func.max(attestations.c.number), db_time())).one()
            run = _Run((last or 0) + 1, now, whole)
            run.damages += _broken_seals(connection)
        return run

    def _page(self, run: _Run, after: UUID | None) -> Sequence[Account]:
        """Recompute the accounts behind `after`; store what they stand at, and return them."""
        with open_snapshot(self._store) as connection:
            page = read_account_page(connection, after, PAGE)
            walks = _walks(connection, run, [account for _, account in page])
        marks = [mark for (_, account) in page for mark in self._taken_down(run, account, walks[account.id])]
        found = [(agent, account, walks[account.id].fault) for agent, account in page]
        run.damages += [_damage(agent, account, fault) for agent, account, fault in found if fault]
        with self._store.transaction() as tx:
            for begin in range(0, len(marks), _INSERT):
                insert_new(tx, account_snapshots, marks[begin : begin + _INSERT])
        return [account for _, account in page]

    def _taken_down(self, run: _Run, account: Account, walk: AccountWalk) -> list[dict[str, Any]]:
        run.entries += walk.count
        if walk.fault is not None:
            return []
        run.root.add(_leaf(account.id, walk.at))
        return [{"account_id": account.id, **_columns(mark)} for mark in walk.marks if mark.seq]

    def _finish(self, run: _Run) -> Attestation:
        with self._store.transaction() as tx:
            for damage in run.damages:
                self._report(tx, damage)
            row = self._row(tx, run)
            # Another run may have ended meanwhile; the roots keep one order all the same.
            while not insert_new(tx, attestations, [row]):
                row = self._row(tx, run)
            written = tx.connection.execute(sa.select(attestations).where(attestations.c.number == row["number"])).one()
        return _attestation(written)

    def _row(self, tx: Transaction, run: _Run) -> dict[str, Any]:
        newest = sa.select(attestations).order_by(attestations.c.number.desc()).limit(1)
        last = tx.connection.execute(newest).one_or_none()
        values = {
            "number": last.number + 1 if last else 1,
            "accounts": run.root.leaves,
            "entries": run.entries,
            "root": run.root.digest(),
        }
        seal = _seal(last.seal if last else None, values)
        damages = [asdict(damage) for damage in run.damages]
        return {**values, "seal": seal, "damages": damages, "started_at": run.started_at, "finished_at": db_time()}

    def _report(self, tx: Transaction, damage: Damage) -> None:
        sighting = Sighting(
            agent_id=damage.agent_id,
            service=damage.service,
            kind="ledger_damaged",
            subject=f"{damage.bucket}:{damage.currency}:{damage.seq}",
            evidence=asdict(damage),
        )
        self._breaks.report(sighting, tx=tx)


def _walks(connection: Connection, run: _Run, accounts: Sequence[Account]) -> dict[UUID, AccountWalk]:
    """The walks over these accounts, ended."""
    attested = _attested(connection, [account.id for account in accounts])
    walks = {}
    for account in accounts:
        known = attested[account.id]
        start = ORIGIN if run.begins_anew(account.id) or not known else known[max(known)]
        walks[account.id] = AccountWalk(account, known, start)
    for row in _entries_from(connection, {account: walk.at.seq for account, walk in walks.items()}):
        walks[row.account_id].take(row)
    for walk in walks.values():
        walk.end()
    return walks


def _attested(connection: Connection, accounts: Sequence[UUID]) -> Mapping[UUID, dict[int, Point]]:
    points: dict[UUID, dict[int, Point]] = defaultdict(dict)
    table = account_snapshots.c
    for row in connection.execute(sa.select(account_snapshots).where(table.account_id.in_(accounts))):
        points[row.account_id][row.seq] = Point(row.seq, row.balance, row.head)
    return points


def _entries_from(connection: Connection, starts: Mapping[UUID, int]) -> sa.Result[Any]:
    """The entries of each account from its start on, by account and number."""
    table, whole = entries.c, [account for account, seq in starts.items() if seq == 0]
    tails = [(table.account_id == account) & (table.seq >= seq) for account, seq in starts.items() if seq]
    statement = sa.select(entries).where(sa.or_(table.account_id.in_(whole), *tails))
    ordered = statement.order_by(table.account_id, table.seq).execution_options(yield_per=_BATCH)
    return connection.execute(ordered)


def _broken_seals(connection: Connection) -> list[Damage]:
    """The attestation from which on the stored ones are not what they were, if there is one."""
    before: bytes | None = None
    number = 1
    for row in connection.execute(sa.select(attestations).order_by(attestations.c.number)):
        values = {"number": number, "accounts": row.accounts, "entries": row.entries, "root": row.root}
        if row.number != number or row.seal != _seal(before, values):
            return [_of_attestation(number)]
        before, number = row.seal, number + 1
    return []


def _of_attestation(number: int) -> Damage:
    reason = f"attestation {number} was changed or removed"
    return Damage(agent_id="-", service="ledger", bucket="attestations", currency="-", seq=number, reason=reason)


def _leaf(account: UUID, point: Point) -> bytes:
    return account.bytes + f"|{point.seq}|{point.balance}|".encode() + (point.head or bytes(32))


def _seal(before: bytes | None, values: Mapping[str, Any]) -> bytes:
    numbers = f"|{values['number']}|{values['accounts']}|{values['entries']}".encode()
    return hashlib.sha256((before or bytes(32)) + values["root"] + numbers).digest()


def _columns(point: Point) -> dict[str, Any]:
    return {"seq": point.seq, "balance": point.balance, "head": point.head}


def _damage(agent_id: str, account: Account, fault: Fault) -> Damage:
    return Damage(agent_id=agent_id, **asdict(account.key), seq=fault.seq, reason=fault.reason)


def _attestation(row: sa.Row[Any]) -> Attestation:
    fields = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name
    return Attestation(**fields | {"damages": tuple(Damage(**damage) for damage in row.damages)})
