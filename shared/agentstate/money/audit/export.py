"""A ledger on its way from one store to another: all transactions of an agent, posted again under the same keys.

Everything is checked before anything is posted: each transaction sums to zero, each account's numbers have no gap and
its balance runs on. Posting again what is there already changes nothing, so an import that was cut off is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import Conflict, Unbalanced
from agentstate.ids import validate_name
from agentstate.money.amounts import Money
from agentstate.money.ledger.postings import Line, Posting, net_lines, validate_key, validate_lines
from agentstate.money.ledger.statement import read_lines
from agentstate.money.ledger.writer import write_posting
from agentstate.money.reconciliation.books_snapshot import open_snapshot
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions

_PAGE = 500


@dataclass(frozen=True, slots=True)
class PortableLine:
    """One entry with its place in its account's history."""

    line: Line
    seq: int
    balance: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableTransaction:
    """One transaction as it was posted; `fingerprint` is what its key stands for."""

    agent_id: str
    id: UUID
    scope: str
    key: str
    kind: str
    effective_at: datetime
    recorded_at: datetime
    effect_id: UUID | None
    resolves: UUID | None
    fingerprint: bytes
    meta: Mapping[str, Any] | None = field(hash=False)
    lines: tuple[PortableLine, ...]


Transactions: TypeAlias = Callable[[], Iterable[PortableTransaction]]
"""Reads all transactions of an import from the start; called twice, to check and to post."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How many transactions were posted, and how many had been before."""

    posted: int
    already: int


def export_ledger(store: Store, agent_id: str) -> Iterator[PortableTransaction]:
    """All transactions of an agent as they stand at one moment, in the order in which they were posted."""
    validate_name(agent_id)
    with open_snapshot(store) as connection:
        after: sa.Row[Any] | None = None
        while rows := connection.execute(_transactions(agent_id, after)).all():
            lines = _lines(connection, [row.id for row in rows])
            yield from (_portable(row, lines[row.id]) for row in rows)
            after = rows[-1]


def import_ledger(store: Store, read: Transactions) -> ImportReport:
    """Post what `read` gives, each transaction once, under its own key.

    Recorded times are this store's; everything else stays, fingerprints too, so that a retry of the original caller
    finds its transaction here as well.

    Raises:
        Unbalanced, InvalidInput: something does not balance or cannot be read; nothing was posted.
        KeyReused, Conflict: a key stands for something else here. InsufficientFunds: the accounts here differ. What
            came before in the file is posted; run it again when that is cleared.
    """
    _check(read())
    posted, total = 0, 0
    waiting = iter(read())
    while batch := list(islice(waiting, _PAGE)):
        with store.transaction() as tx:
            posted += sum(_post(tx, transaction) for transaction in batch)
        total += len(batch)
    return ImportReport(posted, total - posted)


def _check(transactions: Iterable[PortableTransaction]) -> None:
    ends: dict[tuple[str, Any], tuple[int, int]] = {}
    for transaction in transactions:
        _check_one(transaction)
        for item in transaction.lines:
            account = (transaction.agent_id, item.line.account)
            seq, balance = ends.get(account, (0, 0))
            ends[account] = (seq + 1, balance + item.line.amount.minor)
            if ends[account] != (item.seq, item.balance.minor):
                raise Unbalanced(_gap(transaction, item, *ends[account]))


def _check_one(transaction: PortableTransaction) -> None:
    validate_name(transaction.agent_id)
    validate_name(transaction.scope, "scope")
    validate_name(transaction.kind, "kind")
    validate_key(transaction.key)
    try:
        validate_lines([item.line for item in transaction.lines])
    except Unbalanced as error:
        raise Unbalanced(f"{transaction.kind} {transaction.key!r}: {error}") from None


def _gap(transaction: PortableTransaction, item: PortableLine, seq: int, minor: int) -> str:
    key = item.line.account
    return (
        f"{transaction.kind} {transaction.key!r} says entry {item.seq} of {key.service}/{key.bucket} with a balance of "
        f"{item.balance}; what came before makes it entry {seq} with {Money.from_minor(minor, key.currency)}. "
        "Nothing was posted."
    )


def _post(tx: Transaction, transaction: PortableTransaction) -> bool:
    """Post one; whether it is new here."""
    lines = [item.line for item in transaction.lines]
    posted = write_posting(
        tx,
        transaction.agent_id,
        Posting(
            id=transaction.id,
            scope=transaction.scope,
            key=transaction.key,
            kind=transaction.kind,
            lines=lines,
            effective_at=transaction.effective_at,
            effect_id=transaction.effect_id,
            resolves=transaction.resolves,
            meta=transaction.meta,
            sha=transaction.fingerprint,
        ),
    )
    # The fingerprint is the file's word; what is stored under the key has to move the same money.
    if posted.replayed and not _same(read_lines(tx.connection, [posted.id])[posted.id], lines):
        raise Conflict(
            f"the key {transaction.key!r} moves other money here than in the file. Nothing of it was posted."
        )
    return not posted.replayed


def _same(stored: Iterable[Line], given: Iterable[Line]) -> bool:
    return set(net_lines(stored)) == set(net_lines(given))


def _transactions(agent_id: str, after: sa.Row[Any] | None) -> sa.Select[Any]:
    table = ledger_transactions.c
    statement = sa.select(ledger_transactions).where(table.agent_id == agent_id)
    if after is not None:
        same = (table.recorded_at == after.recorded_at) & (table.id > after.id)
        statement = statement.where((table.recorded_at > after.recorded_at) | same)
    return statement.order_by(table.recorded_at, table.id).limit(_PAGE)


def _lines(connection: Connection, ids: list[UUID]) -> dict[UUID, list[PortableLine]]:
    statement = (
        sa.select(entries, accounts.c.service, accounts.c.bucket, accounts.c.currency)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .where(entries.c.txn_id.in_(ids))
        .order_by(entries.c.account_id, entries.c.seq)
    )
    lines: dict[UUID, list[PortableLine]] = {txn_id: [] for txn_id in ids}
    for row in connection.execute(statement):
        line = Line(row.service, row.bucket, Money.from_minor(row.amount, row.currency))
        lines[row.txn_id].append(PortableLine(line, row.seq, Money.from_minor(row.balance_after, row.currency)))
    return lines


def _portable(row: sa.Row[Any], lines: list[PortableLine]) -> PortableTransaction:
    names = ("agent_id", "id", "scope", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "meta")
    named = {name: getattr(row, name) for name in names}
    return PortableTransaction(**named, fingerprint=row.params_sha, lines=tuple(lines))
