"""Accounts: opening them, locking them in one order, and reading their balances.

An account's id is made from what names it, so nobody has to look it up; accounts are locked sorted by id, and opened
(sorted too) before any is locked, so that postings wait for each other but never in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import ConfigurationError
from agentstate.ids import derive_id
from agentstate.money.amounts import currency_scale
from agentstate.money.ledger.postings import COUNTER_BUCKETS, AccountKey
from agentstate.store.store import Transaction
from agentstate.store.tables.attest import account_snapshots
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import accounts, currencies, entries
from agentstate.store.upsert import insert_new

_LATELY = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Account:
    """An account row as it stood when it was read; amounts in minor units."""

    id: UUID
    key: AccountKey
    floor: int | None
    balance: int
    version: int
    head: bytes | None
    touched_at: datetime


_LOCKED = (
    sa.select(accounts, db_time().label("now"))
    .where(accounts.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(accounts.c.id)
    .with_for_update(of=accounts)
)


@lru_cache(maxsize=10_000)
def account_id(agent_id: str, key: AccountKey) -> UUID:
    """The id of an agent's account: always the same for the same names."""
    return derive_id("account", agent_id, key.service, key.bucket, key.currency)


def open_accounts(tx: Transaction, agent_id: str, keys: Iterable[AccountKey]) -> None:
    """Make the accounts that are not there yet, empty, with their bucket's floor.

    Raises:
        ConfigurationError: a currency is stored with another scale than this process registered.
    """
    _open(tx, [(agent_id, key) for key in keys])


def lock_accounts(
    tx: Transaction, agent_id: str, keys: Iterable[AccountKey]
) -> tuple[dict[AccountKey, Account], datetime]:
    """The accounts of `keys` that exist, locked until the end of `tx`, and the database's time."""
    ids = sorted(account_id(agent_id, key) for key in keys)
    found = tx.connection.execute(_LOCKED, {"ids": ids}).all()
    locked = {account.key: account for account in map(_account, found)}
    return locked, max(row.now for row in found) if found else tx.now()


def lock_accounts_of_agents(tx: Transaction, keys: Sequence[tuple[str, AccountKey]]) -> None:
    """Open and lock accounts at once, of several agents too, before anything else is locked or posted.

    On SQLite the whole database is the writer's already.
    """
    if not tx.database.is_server:
        return
    _open(tx, keys)
    ids = sorted({account_id(agent_id, key) for agent_id, key in keys})
    locking = sa.select(accounts.c.id).where(accounts.c.id.in_(ids)).order_by(accounts.c.id).with_for_update()
    tx.connection.execute(locking).all()


def read_account(connection: Connection, agent_id: str, key: AccountKey) -> Account | None:
    """One account without a lock; None when nothing was ever posted to it."""
    row = connection.execute(sa.select(accounts).where(accounts.c.id == account_id(agent_id, key))).one_or_none()
    return None if row is None else _account(row)


def read_balance_at(connection: Connection, agent_id: str, key: AccountKey, as_of: datetime) -> int:
    """The balance after the last entry recorded at `at` or before; 0 before the first."""
    mine = (entries.c.account_id == account_id(agent_id, key)) & (entries.c.recorded_at <= as_of)
    # Most accounts moved lately; looking there first spares looking into every month that there ever was.
    lately = as_of - _LATELY if as_of.year > 1 else as_of
    for within in (entries.c.recorded_at > lately, sa.true()):
        statement = (
            sa.select(entries.c.balance_after)
            .where(mine, within)
            .order_by(entries.c.recorded_at.desc(), entries.c.seq.desc())
            .limit(1)
        )
        balance: int | None = connection.execute(statement).scalar_one_or_none()
        if balance is not None:
            return balance
    return 0


def sum_entries(
    connection: Connection, agent_id: str, *, currency: str, bucket: str, service: str | None, whole: bool = False
) -> int:
    """What an agent's entries sum to over its accounts, whatever the account rows say.

    Goes on from each account's newest attested point; `whole`: from the first entry.
    """
    conditions = [accounts.c.agent_id == agent_id, accounts.c.currency == currency, accounts.c.bucket == bucket]
    if service is not None:
        conditions.append(accounts.c.service == service)
    rows = connection.execute(_sums(whole=whole).where(*conditions))
    return sum(int(row.before or 0) + int(row.since or 0) for row in rows)


def read_account_page(connection: Connection, after: UUID | None, limit: int) -> list[tuple[str, Account]]:
    """The next accounts of the fleet behind the id `after`, by id, each with its agent."""
    statement = sa.select(accounts).order_by(accounts.c.id).limit(limit)
    if after is not None:
        statement = statement.where(accounts.c.id > after)
    return [(row.agent_id, _account(row)) for row in connection.execute(statement)]


def _sums(*, whole: bool) -> sa.Select[Any]:
    """Per account: the balance at its newest attested point, and the sum of the entries since."""
    mine = account_snapshots.c.account_id == accounts.c.id
    attested = mine & sa.false() if whole else mine
    newest = sa.select(sa.func.max(account_snapshots.c.seq)).where(attested).correlate(accounts).scalar_subquery()
    before = sa.select(account_snapshots.c.balance).where(mine, account_snapshots.c.seq == newest)
    tail = (entries.c.account_id == accounts.c.id) & (entries.c.seq > sa.func.coalesce(newest, 0))
    since = sa.select(sa.func.sum(entries.c.amount)).where(tail)
    return sa.select(
        before.correlate(accounts).scalar_subquery().label("before"),
        since.correlate(accounts).scalar_subquery().label("since"),
    ).select_from(accounts)


def _open(tx: Transaction, keys: Iterable[tuple[str, AccountKey]]) -> None:
    wanted = sorted(set(keys), key=lambda named: account_id(*named))
    for currency in sorted({key.currency for _, key in wanted}):
        _know_currency(tx, currency)
    insert_new(tx, accounts, [_empty(agent_id, key) for agent_id, key in wanted])


def _know_currency(tx: Transaction, currency: str) -> None:
    scale = currency_scale(currency)
    insert_new(tx, currencies, [{"code": currency, "scale": scale}])
    stored = tx.connection.execute(sa.select(currencies.c.scale).where(currencies.c.code == currency)).scalar_one()
    if stored != scale:
        raise ConfigurationError(
            f"{currency} is stored with {stored} digits after the point and registered here with {scale}. "
            f"Register it with {stored}; nothing was posted."
        )


def _empty(agent_id: str, key: AccountKey) -> dict[str, Any]:
    return {
        "id": account_id(agent_id, key),
        "agent_id": agent_id,
        "service": key.service,
        "bucket": key.bucket,
        "currency": key.currency,
        "floor": None if key.bucket in COUNTER_BUCKETS else 0,
        "touched_at": db_time(),
    }


def _account(row: sa.Row[Any]) -> Account:
    return Account(
        id=row.id,
        key=AccountKey(row.service, row.bucket, row.currency),
        floor=row.floor,
        balance=row.balance,
        version=row.version,
        head=row.head,
        touched_at=row.touched_at,
    )
