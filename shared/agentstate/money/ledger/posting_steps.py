"""A posting in steps: on SQLite, whose writer has the database to itself, so that talking with it costs nothing.

Does what `posting_statement` does, in the same order and by the same rules; there the server computes what is computed
here. Serves Postgres too, for postings with several lines on one account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.money.amounts import Money
from agentstate.money.ledger.accounts import Account, lock_accounts
from agentstate.money.ledger.chain import hash_entry
from agentstate.money.ledger.postings import AccountKey, Line, Posting
from agentstate.store.store import Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions
from agentstate.store.upsert import insert_new

_TICK = timedelta(microseconds=1)
_MOVE = (
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("account"))
    .values(
        balance=sa.bindparam("new_balance"),
        version=sa.bindparam("new_version"),
        head=sa.bindparam("new_head"),
        touched_at=sa.bindparam("new_time", type_=accounts.c.touched_at.type),
    )
)


def insert_posting_stepwise(
    tx: Transaction, agent_id: str, posting: Posting, sha: bytes, txn_id: UUID
) -> datetime | None:
    """Write `posting`; return when it was recorded, None when it could not be written and nothing was.

    Raises:
        AmountInvalid: a balance would be beyond what an amount can be.
    """
    keys = {line.account for line in posting.lines}
    locked, now = lock_accounts(tx, agent_id, keys)
    if len(locked) < len(keys) or find_shortages(posting.lines, locked):
        return None
    # Strictly later than each account's last entry: an account's history is ordered by time as by number.
    recorded_at = max(now, *(account.touched_at + _TICK for account in locked.values()))
    chained, heads = _chained(posting.lines, locked, txn_id, recorded_at)
    if not insert_new(tx, ledger_transactions, [_row(agent_id, posting, sha, txn_id, recorded_at)]):
        return None
    # In one statement on Postgres: a trigger of it sees whether they sum to zero.
    tx.database.insert_rows(tx.connection, entries, chained)
    tx.connection.execute(_MOVE, heads)
    return recorded_at


def find_shortages(lines: Iterable[Line], locked: Mapping[AccountKey, Account]) -> dict[AccountKey, int]:
    """By how many minor units each account would end below its floor."""
    ends = {key: account.balance for key, account in locked.items()}
    for line in lines:
        ends[line.account] += line.amount.minor
    floors = {key: account.floor for key, account in locked.items() if account.floor is not None}
    return {key: floor - ends[key] for key, floor in floors.items() if ends[key] < floor}


def _row(agent_id: str, posting: Posting, sha: bytes, txn_id: UUID, recorded_at: datetime) -> dict[str, Any]:
    return {
        "id": txn_id,
        "agent_id": agent_id,
        "scope": posting.scope,
        "key": posting.key,
        "params_sha": sha,
        "kind": posting.kind,
        "effect_id": posting.effect_id,
        "resolves": posting.resolves,
        "effective_at": posting.effective_at or recorded_at,
        "recorded_at": recorded_at,
        "meta": None if posting.meta is None else dict(posting.meta),
    }


def _chained(
    lines: Sequence[Line], locked: Mapping[AccountKey, Account], txn: UUID, recorded_at: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entry rows, and the new state of each account that they touch."""
    heads = dict(locked)
    rows = []
    for line in lines:
        before = heads[line.account]
        seq, amount = before.version + 1, line.amount.minor
        after = Money.from_minor(before.balance + amount, line.amount.currency).minor
        entry: dict[str, Any] = {"seq": seq, "amount": amount, "balance_after": after, "recorded_at": recorded_at}
        sealed = hash_entry(before.head, account=before.id, txn=txn, **entry)
        heads[line.account] = replace(before, balance=after, version=seq, head=sealed)
        rows.append({"account_id": before.id, "txn_id": txn, "hash": sealed, **entry})
    return rows, [_head(account, recorded_at) for account in heads.values()]


def _head(account: Account, recorded_at: datetime) -> dict[str, Any]:
    return {
        "account": account.id,
        "new_balance": account.balance,
        "new_version": account.version,
        "new_head": account.head,
        "new_time": recorded_at,
    }
