"""A long history written at once: entries with a valid chain, by COPY on Postgres, as fast as the disk takes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentstate.ids import derive_id
from agentstate.money.amounts import Money
from agentstate.money.ledger.accounts import lock_accounts, open_accounts
from agentstate.money.ledger.chain import hash_entry
from agentstate.money.ledger.postings import AccountKey, Bucket
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions

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
    open_accounts(tx, agent_id, keys)
    locked, _ = lock_accounts(tx, agent_id, keys)
    available, external = (_Chain(locked[key]) for key in keys)
    parts = [moments[begin : begin + lines] for begin in range(0, len(moments), lines)]
    numbered = enumerate(parts, available.seq)
    named = [(derive_id("history", agent_id, service, str(number)), part) for number, part in numbered]
    _insert_rows(tx, ledger_transactions, (_make_transaction(agent_id, txn, part[-1]) for txn, part in named))
    _insert_rows(tx, entries, _make_entries(named, available, external, amount.minor))
    for chain in (available, external):
        heads = {"balance": chain.balance, "version": chain.seq, "head": chain.head, "touched_at": moments[-1]}
        tx.connection.execute(sa.update(accounts).where(accounts.c.id == chain.id).values(heads))


def _make_entries(named: Iterable[Any], available: _Chain, external: _Chain, minor: int) -> Iterator[dict[str, Any]]:
    for txn, part in named:
        for at in part:
            yield available.make_entry(txn, minor, at)
        yield external.make_entry(txn, -minor * len(part), part[-1])


def _make_transaction(agent_id: str, txn: Any, at: datetime) -> dict[str, Any]:
    return {
        "id": txn, "agent_id": agent_id, "scope": "history", "key": str(txn), "params_sha": bytes(32),
        "kind": "deposit", "effective_at": at, "recorded_at": at,
    }  # fmt: skip


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
