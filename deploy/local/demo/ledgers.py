"""The books, checked from outside: sums, hashes and balances by the rows, and against the services' own truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agentstate.money.ledger.chain import hash_entry
from agentstate.money.ledger.postings import Bucket
from agentstate.money.ledger.shared_balances import balance_service
from agentstate.store.store import Store
from agentstate.store.tables import accounts, entries
from deploy.local.demo.facts import BalanceFact
from deploy.local.demo.faults import PLANTED_AGENT

_FREE = (Bucket.AVAILABLE, Bucket.SUSPENSE, Bucket.IN_FLIGHT)
REWRITES = ("UPDATE entries SET amount = amount + 1", "DELETE FROM entries", "DELETE FROM ledger_transactions")
"""What the database has to refuse."""


def book_faults(connection: Connection) -> list[str]:
    """Transactions that do not sum to zero in a currency, and entries that do not continue their account's chain."""
    unbalanced = (
        sa.select(entries.c.txn_id, accounts.c.currency)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .group_by(entries.c.txn_id, accounts.c.currency)
        .having(sa.func.sum(entries.c.amount) != 0)
    )
    found = [f"transaction {row.txn_id} is not zero in {row.currency}" for row in connection.execute(unbalanced)]
    return [*found, *_broken_chains(connection)]


def rewrites_accepted(store: Store) -> list[str]:
    """Changes of written entries that the database accepts; they are rolled back."""
    return [statement for statement in REWRITES if _accepted(store, statement)]


def balances(connection: Connection, truth: Mapping[str, Any]) -> list[BalanceFact]:
    """Every balance of every agent: the sum of the entries, beside what the service has."""
    booked = _booked(connection)
    return [
        BalanceFact(agent_id=agent, account=account, books=booked.get((agent, account), 0), truth=micros)
        for agent, known in sorted(truth["agents"].items())
        if agent != PLANTED_AGENT
        for account, micros in _true_accounts(known)
    ]


def _true_accounts(known: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name in ("casino", "trading", "domains"):
        yield name, int(known["accounts"].get(name, {"micros": 0})["micros"])
    yield "wallet", int(known["wallet"]["micros"])
    yield "escrow locked", int(known["escrow_locked"]["micros"])


def _booked(connection: Connection) -> dict[tuple[str, str], int]:
    table = accounts.c
    statement = (
        sa.select(table.agent_id, table.service, table.bucket, sa.func.sum(entries.c.amount).label("minor"))
        .join(entries, entries.c.account_id == table.id)
        .group_by(table.agent_id, table.service, table.bucket)
    )
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in connection.execute(statement):
        if row.bucket in _FREE:
            sums[row.agent_id, balance_service(row.service)] += int(row.minor)
        elif row.bucket == Bucket.ESCROW_LOCKED:
            sums[row.agent_id, "escrow locked"] += int(row.minor)
    return sums


def _broken_chains(connection: Connection) -> Iterator[str]:
    rows = connection.execute(sa.select(entries).order_by(entries.c.account_id, entries.c.seq))
    by_account: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        by_account[row.account_id].append(row)
    for account in connection.execute(sa.select(accounts)):
        fault = _chain_fault(account, by_account[account.id])
        if fault:
            yield f"{account.service}/{account.bucket} of {account.agent_id}: {fault}"


def _chain_fault(account: Any, chain: Sequence[Any]) -> str | None:
    head, balance = None, 0
    for number, row in enumerate(chain, 1):
        balance += row.amount
        head = hash_entry(
            head, account=account.id, seq=number, txn=row.txn_id, amount=row.amount, balance_after=balance,
            recorded_at=row.recorded_at,
        )  # fmt: skip
        if (row.seq, row.balance_after, bytes(row.hash)) != (number, balance, head):
            return f"entry {row.seq} does not continue the chain"
    same = (account.version, account.balance) == (len(chain), balance) and (account.head or b"") == (head or b"")
    return None if same else "the account's head is not that of its entries"


def _accepted(store: Store, statement: str) -> bool:
    with store.engine.connect() as connection:
        try:
            connection.execute(sa.text(statement))
        except DBAPIError:
            return False
        finally:
            connection.rollback()
    return True
