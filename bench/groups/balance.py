"""The balance of an account with a million entries against one with a thousand: it has to cost the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from agentstate.ids import derive_id
from agentstate.money import Money, TransactionLedger
from agentstate.money.ledger.accounts import lock_accounts, open_accounts
from agentstate.money.ledger.postings import AccountKey, Bucket
from agentstate.money.ledger.writer import hash_entry
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions
from bench.stack import BenchStack
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_most

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=390)
"""Thirteen months."""

SHORT = 1_000
_LINES = 100
_CENT = Money.from_minor(10_000)
_STEP = 7_919
"""Moments are taken in steps of this many parts of the span: a prime, so that they fall everywhere."""


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """Balance, and balance at a time in the history, on both databases."""
    long = bench.choose_size(1_000_000, 20_000)
    for name, url in (("Postgres", bench.make_postgres()), ("SQLite", bench.make_sqlite())):
        store = Store.open(url)
        began = time.monotonic()
        if store.database.is_server:
            statement = sa.text("SELECT agentstate_add_entries_month(:moment)")
            with store.transaction() as tx:
                for month in range(14):
                    moment = datetime(BEGIN.year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
                    tx.connection.execute(statement, {"moment": moment})
        histories: dict[int, TransactionLedger] = {}
        for count in (SHORT, long):
            moments = [BEGIN + SPAN * number / count for number in range(1, count + 1)]
            write_history(store, f"ag_{count}", "casino", moments, amount=_CENT, lines=_LINES, unwatched=True)
            ledger = histories[count] = TransactionLedger(store, f"ag_{count}")
            assert ledger.balance("casino").minor == _CENT.minor * count
            assert ledger.balance("casino", as_of=moments[count // 2 - 1]).minor == _CENT.minor * count // 2
        bench.report(f"{name}: histories of {SHORT:,} and {long:,} entries in {time.monotonic() - began:.0f} s")
        what = f"{long:,} entries against {SHORT:,}"
        readings: dict[str, Callable[[TransactionLedger], Callable[[], object]]] = {
            "balance": lambda ledger: lambda: ledger.balance("casino"),
            "balance at a time": _read_at_moments,
        }
        for read, reading in readings.items():
            sides = reading(histories[long]), reading(histories[SHORT])
            found = compare_calls(*sides, rounds=bench.choose_size(60, 3), calls=20)
            reference = f"the short history: {found.reference_s * 1e3:.2f} ms"
            yield at_most(f"{name}: {read}, {what}", round(found.ratio, 2), 1.5, "x", reference)
        store.close()


def _read_at_moments(ledger: TransactionLedger) -> Callable[[], object]:
    steps = itertools.count(1)

    def at_some_time() -> object:
        part = next(steps) * _STEP % 100_000
        return ledger.balance("casino", as_of=BEGIN + SPAN * part / 100_000)

    return at_some_time


_BATCH = 20_000
_COMMITTED = 100_000


class _Chain:
    """One account, while entries are added to it."""

    def __init__(self, account: Any) -> None:
        self.id, self.seq, self.balance, self.head = account.id, account.version, account.balance, account.head

    def make_entry(self, txn: Any, amount: int, at: datetime) -> dict[str, Any]:
        self.seq, self.balance = self.seq + 1, self.balance + amount
        named = {"seq": self.seq, "amount": amount, "balance_after": self.balance, "recorded_at": at}
        self.head = hash_entry(self.head, account=self.id, txn=txn, **named)
        return {"account_id": self.id, "txn_id": txn, "hash": self.head, **named}


def write_history(
    store: Store,
    agent_id: str,
    service: str,
    moments: Sequence[datetime],
    *,
    amount: Money,
    lines: int = 1,
    unwatched: bool = False,
) -> None:
    """Deposit `amount` at each of `moments` (ascending), `lines` of them in one transaction.

    The entries of a transaction have the times that are given, so that they can lie in different months.

    Args:
        store: where to; on Postgres as a superuser when `unwatched`.
        agent_id: whose deposits.
        service: where.
        moments: when.
        amount: of each.
        lines: deposits in one transaction; a batch is committed with a whole number of them.
        unwatched: without the triggers, which look at each row, and are not what is measured.
    """
    for begin in range(0, len(moments), _COMMITTED):
        with store.transaction() as tx:
            if unwatched and tx.database.is_server:
                tx.connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            _write_batch(tx, agent_id, service, moments[begin : begin + _COMMITTED], amount=amount, lines=lines)
    if store.database.is_server:
        with store.transaction() as tx:
            tx.connection.exec_driver_sql("ANALYZE entries, accounts, ledger_transactions")


def _write_batch(
    tx: Transaction, agent_id: str, service: str, moments: Sequence[datetime], *, amount: Money, lines: int
) -> None:
    keys = [AccountKey(service, bucket, amount.currency) for bucket in (Bucket.AVAILABLE, Bucket.EXTERNAL)]
    open_accounts(tx, [(agent_id, key) for key in keys])
    locked, _ = lock_accounts(tx, agent_id, keys)
    available, external = (_Chain(locked[key]) for key in keys)
    parts = [moments[begin : begin + lines] for begin in range(0, len(moments), lines)]
    numbered = enumerate(parts, available.seq)
    named = [(derive_id("history", agent_id, service, str(number)), part) for number, part in numbered]
    transactions = (
        {"id": txn, "agent_id": agent_id, "scope": "history", "key": str(txn), "params_sha": bytes(32),
         "kind": "deposit", "effective_at": part[-1], "recorded_at": part[-1]}
        for txn, part in named
    )  # fmt: skip

    def make_entries() -> Iterator[dict[str, Any]]:
        for txn, part in named:
            for at in part:
                yield available.make_entry(txn, amount.minor, at)
            yield external.make_entry(txn, -amount.minor * len(part), part[-1])

    _insert_rows(tx, ledger_transactions, transactions)
    _insert_rows(tx, entries, make_entries())
    for chain in (available, external):
        heads = {"balance": chain.balance, "version": chain.seq, "head": chain.head, "touched_at": moments[-1]}
        tx.connection.execute(sa.update(accounts).where(accounts.c.id == chain.id).values(heads))


def _insert_rows(tx: Transaction, table: sa.Table, rows: Iterator[dict[str, Any]]) -> None:
    if not tx.database.is_server:
        while batch := list(itertools.islice(rows, _BATCH)):
            tx.connection.execute(sa.insert(table), batch)
        return
    first = next(rows)
    cursor = tx.connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(first)}) FROM STDIN") as copy:
        for row in itertools.chain([first], rows):
            copy.write_row(tuple(row.values()))
