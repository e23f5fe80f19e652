"""Writing one ledger transaction: the only code that adds entries.

Everything is checked before anything is written: the lines, the floors, the key. Then one row says what happened, one
statement adds all entries, each sealed by its account's hash chain, and the account rows take the new heads.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import Conflict, InsufficientFunds, InvalidInput, KeyReused
from agentstate.ids import new_id
from agentstate.money.accounts import Account, lock_accounts, open_accounts
from agentstate.money.amounts import Money
from agentstate.money.canonical import fingerprint
from agentstate.money.chain import entry_hash
from agentstate.money.postings import CALLER, AccountKey, Bucket, Line, Posted, Posting, check_lines, checked_key
from agentstate.store.store import Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions
from agentstate.store.upsert import insert_new

_TICK = timedelta(microseconds=1)


class LedgerWriter:
    """Writes postings of one agent. Remembers which accounts exist, so that a busy one is not opened again."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._opened: set[AccountKey] = set()

    def write(self, tx: Transaction, posting: Posting) -> Posted:
        """Write `posting` in `tx`, or return what was written under its key before.

        Raises:
            Unbalanced, InvalidInput: the lines or the key are wrong. KeyReused: the key was used for another posting.
            InsufficientFunds: an account would pass its floor. Conflict: the hold was resolved before.
        """
        checked_key(posting.key)
        check_lines(posting.lines)
        sha = posting.sha or _fingerprint(posting)
        locked, now = self._lock(tx, posting)
        shortages = _shortages(posting.lines, locked)
        if shortages:
            replayed = self._before(tx, posting, sha)
            if replayed is not None:
                return replayed
            posting = self._suspended(tx, posting, locked, shortages)
        return self._write(tx, posting, sha, locked, now)

    def find(self, connection: sa.Connection, scope: str, key: str) -> sa.Row[Any] | None:
        """The transaction row under `key`, if there is one."""
        table = ledger_transactions.c
        mine = (table.agent_id == self._agent_id) & (table.scope == scope) & (table.key == key)
        return connection.execute(sa.select(ledger_transactions).where(mine)).one_or_none()

    def _lock(self, tx: Transaction, posting: Posting) -> tuple[dict[AccountKey, Account], datetime]:
        keys = {line.account for line in posting.lines}
        if posting.suspend_shortage:
            keys |= {AccountKey(key.service, Bucket.SUSPENSE, key.currency) for key in keys}
        if not keys <= self._opened:
            open_accounts(tx, self._agent_id, keys)
            tx.after_commit(lambda: self._opened.update(keys))
        locked, now = lock_accounts(tx, self._agent_id, keys)
        if len(locked) < len(keys):
            raise Conflict(f"accounts of {self._agent_id} are gone from the store; open a fresh ledger on it.")
        return locked, now

    def _suspended(
        self, tx: Transaction, posting: Posting, locked: dict[AccountKey, Account], shortages: dict[AccountKey, int]
    ) -> Posting:
        if not posting.suspend_shortage:
            _refuse_resolved(tx, posting)
            raise InsufficientFunds(_refusal(self._agent_id, posting, locked, shortages))
        return replace(posting, lines=[*posting.lines, *_covering(shortages)])

    def _write(
        self, tx: Transaction, posting: Posting, sha: bytes, locked: dict[AccountKey, Account], now: datetime
    ) -> Posted:
        # Strictly later than each account's last entry: an account's history is ordered by time as by number.
        recorded_at = max(now, *(account.touched_at + _TICK for account in locked.values()))
        row = self._row(posting, sha, recorded_at)
        if not insert_new(tx, ledger_transactions, [row]):
            replayed = self._before(tx, posting, sha)
            if replayed is None:
                _refuse_resolved(tx, posting)
                raise InvalidInput(f"the posting {posting.key!r} meets an id in use. Nothing was posted.")
            return replayed
        chained, heads = _chained(posting.lines, locked, row["id"], recorded_at)
        tx.connection.execute(sa.insert(entries).values(chained))
        tx.connection.execute(_NEW_HEAD, heads)
        return _posted(row, tuple(posting.lines), replayed=False)

    def _row(self, posting: Posting, sha: bytes, recorded_at: datetime) -> dict[str, Any]:
        return {
            "id": posting.id or new_id(),
            "agent_id": self._agent_id,
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

    def _before(self, tx: Transaction, posting: Posting, sha: bytes) -> Posted | None:
        found = self.find(tx.connection, posting.scope, posting.key)
        if found is None:
            return None
        if found.params_sha != sha:
            raise KeyReused(
                f"the key {posting.key!r} of {self._agent_id} was used on {found.recorded_at:%Y-%m-%d %H:%M:%S} UTC "
                f"for another posting ({found.kind}). Nothing was posted; use a new key for a new posting."
            )
        return _posted(dict(found._mapping), tuple(posting.lines), replayed=True)  # noqa: SLF001 SQLAlchemy's public name


_NEW_HEAD = (
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("account"))
    .values(
        balance=sa.bindparam("new_balance"),
        version=sa.bindparam("new_version"),
        head=sa.bindparam("new_head"),
        touched_at=sa.bindparam("new_time", type_=accounts.c.touched_at.type),
    )
)


def _fingerprint(posting: Posting) -> bytes:
    # What moves money and when; notes (`meta`) may differ in a retry.
    lines = sorted((line.service, str(line.bucket), line.amount.currency, line.amount.minor) for line in posting.lines)
    return fingerprint([posting.kind, lines, posting.resolves, posting.effective_at])


def _shortages(lines: Any, locked: dict[AccountKey, Account]) -> dict[AccountKey, int]:
    """By how many minor units each account would end below its floor."""
    ends = {key: account.balance for key, account in locked.items()}
    for line in lines:
        ends[line.account] += line.amount.minor
    floors = {key: account.floor for key, account in locked.items() if account.floor is not None}
    return {key: floor - ends[key] for key, floor in floors.items() if ends[key] < floor}


def _covering(shortages: dict[AccountKey, int]) -> list[Line]:
    lines = []
    for key, lack in shortages.items():
        money = Money(lack, key.currency)
        lines += [Line(key.service, key.bucket, money), Line(key.service, Bucket.SUSPENSE, -money)]
    return lines


def _chained(
    lines: Any, locked: dict[AccountKey, Account], txn: UUID, recorded_at: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entry rows, and the new state of each account that they touch."""
    heads = dict(locked)
    rows = []
    for line in lines:
        before = heads[line.account]
        seq, after = before.version + 1, _within(before.balance + line.amount.minor, line)
        entry = {"seq": seq, "amount": line.amount.minor, "balance_after": after, "recorded_at": recorded_at}
        sealed = entry_hash(before.head, account=before.id, txn=txn, **entry)
        heads[line.account] = replace(before, balance=after, version=seq, head=sealed)
        rows.append({"account_id": before.id, "txn_id": txn, "hash": sealed, **entry})
    changed = [account for key, account in heads.items() if account is not locked[key]]
    return rows, [_head(account, recorded_at) for account in changed]


def _within(balance: int, line: Line) -> int:
    return Money(balance, line.amount.currency).minor


def _head(account: Account, recorded_at: datetime) -> dict[str, Any]:
    return {
        "account": account.id,
        "new_balance": account.balance,
        "new_version": account.version,
        "new_head": account.head,
        "new_time": recorded_at,
    }


def _posted(row: dict[str, Any], lines: tuple[Line, ...], *, replayed: bool) -> Posted:
    names = ("id", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "meta")
    return Posted(lines=lines, replayed=replayed, **{name: row[name] for name in names})


def _refuse_resolved(tx: Transaction, posting: Posting) -> None:
    if posting.resolves is None:
        return
    table = ledger_transactions.c
    resolved = tx.connection.execute(
        sa.select(table.kind).where(table.resolves == posting.resolves)
    ).scalar_one_or_none()
    if resolved is not None:
        raise Conflict(f"the hold {posting.resolves} has ended already, by a {resolved}. Nothing was posted.")


def _refusal(
    agent_id: str, posting: Posting, locked: dict[AccountKey, Account], shortages: dict[AccountKey, int]
) -> str:
    key, lack = min(shortages.items())
    has = Money(locked[key].balance, key.currency)
    what = f"{posting.kind} {posting.key!r}" if posting.scope == CALLER else f"this {posting.kind}"
    return (
        f"{agent_id} has {has} in {key.service}/{key.bucket}, {Money(lack, key.currency)} too little for {what}. "
        "Nothing was posted."
    )
