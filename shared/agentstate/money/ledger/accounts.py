"""Accounts: opening them, locking them in one order, and reading their rows.

An account's id is derived from its names, so it needs no lookup. Accounts are opened and locked in the order of their
ids, so that postings wait for each other but never in a circle. A transaction that posts several times cannot know the
later accounts when it locks the first, so on Postgres it holds the lock of the agent's whole ledger instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
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
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import accounts, currencies
from agentstate.store.upsert import insert_new


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


_LOCK_ACCOUNTS = (
    sa.select(accounts, db_time().label("now"))
    .where(accounts.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(accounts.c.id)
    .with_for_update(of=accounts)
)


@lru_cache(maxsize=10_000)
def account_id(agent_id: str, key: AccountKey) -> UUID:
    """Return the id of an agent's account: always the same for the same names."""
    return derive_id("account", agent_id, key.service, key.bucket, key.currency)


def open_accounts(tx: Transaction, keys: Iterable[tuple[str, AccountKey]]) -> None:
    """Insert the accounts that do not exist yet, empty, with their bucket's floor; each key with its agent.

    Raises:
        ConfigurationError: a currency is stored with another scale than this process registered.
    """
    wanted = sorted(set(keys), key=lambda named: account_id(*named))
    for code in sorted({key.currency for _, key in wanted}):
        scale = currency_scale(code)
        insert_new(tx, currencies, [{"code": code, "scale": scale}])
        stored = tx.connection.execute(sa.select(currencies.c.scale).where(currencies.c.code == code)).scalar_one()
        if stored != scale:
            raise ConfigurationError(
                f"{code} is stored with {stored} digits after the point and registered here with {scale}. "
                f"Register it with {stored}; nothing was posted."
            )
    rows: list[dict[str, Any]] = [
        {
            "id": account_id(agent_id, key),
            "agent_id": agent_id,
            "service": key.service,
            "bucket": key.bucket,
            "currency": key.currency,
            "floor": None if key.bucket in COUNTER_BUCKETS else 0,
            "touched_at": db_time(),
        }
        for agent_id, key in wanted
    ]
    insert_new(tx, accounts, rows)


def lock_ledgers(tx: Transaction, agents: Iterable[str]) -> None:
    """Lock the whole ledgers of `agents` until the end of `tx`; on SQLite the transaction has the database already."""
    if tx.database.is_server:
        for agent_id in sorted(set(agents)):
            tx.database.lock_key(tx.connection, sa.func.hashtextextended(f"ledger of {agent_id}", 0))


def lock_accounts(
    tx: Transaction, agent_id: str, keys: Iterable[AccountKey]
) -> tuple[dict[AccountKey, Account], datetime]:
    """Lock those accounts of `keys` that exist; return them and the database's time."""
    ids = sorted(account_id(agent_id, key) for key in keys)
    found = tx.connection.execute(_LOCK_ACCOUNTS, {"ids": ids}).all()
    locked = {account.key: account for account in map(load_account, found)}
    return locked, max(row.now for row in found) if found else tx.now()


def lock_accounts_of_agents(tx: Transaction, keys: Sequence[tuple[str, AccountKey]]) -> None:
    """Open and lock accounts of several agents together, before anything else is locked or posted in `tx`."""
    if not tx.database.is_server:
        return
    lock_ledgers(tx, (agent_id for agent_id, _ in keys))
    open_accounts(tx, keys)
    tx.connection.execute(_LOCK_ACCOUNTS, {"ids": sorted({account_id(*named) for named in keys})}).all()


def read_account(connection: Connection, agent_id: str, key: AccountKey) -> Account | None:
    """Return one account without locking it; None when nothing was ever posted to it."""
    row = connection.execute(sa.select(accounts).where(accounts.c.id == account_id(agent_id, key))).one_or_none()
    return None if row is None else load_account(row)


def read_account_page(connection: Connection, after: UUID | None, limit: int) -> list[tuple[str, Account]]:
    """Return the next accounts of the fleet after the id `after`, by id, each with its agent."""
    statement = sa.select(accounts).order_by(accounts.c.id).limit(limit)
    if after is not None:
        statement = statement.where(accounts.c.id > after)
    return [(row.agent_id, load_account(row)) for row in connection.execute(statement)]


def load_account(row: sa.Row[Any]) -> Account:
    """Return the account of a row of `accounts`."""
    return Account(
        id=row.id,
        key=AccountKey(row.service, row.bucket, row.currency),
        floor=row.floor,
        balance=row.balance,
        version=row.version,
        head=row.head,
        touched_at=row.touched_at,
    )
