"""Writing one ledger transaction: the only code that adds entries.

A posting is first tried whole, which nearly always succeeds; only when that is refused is the reason looked up: it was
written before, an account does not exist yet, or its balance is too low. A refused posting has written nothing.

On Postgres the server does in one statement everything that depends on the balances, so a posting costs one round trip,
which is its commit too when it is the whole of a transaction. On SQLite, whose writer has the database to itself, and
for several lines on one account, the same is done in steps. `hash_entry` defines the hash chain of an account for both:
each entry seals all before it, and the newest hash stands in the account row, which a posting locks anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import Conflict, InsufficientFunds, InvalidInput, KeyReused
from agentstate.ids import new_id, validate_name
from agentstate.money.amounts import Money
from agentstate.money.ledger.accounts import Account, account_id, lock_accounts, lock_ledgers, open_accounts
from agentstate.money.ledger.postings import (
    CALLER_SCOPE,
    AccountKey,
    Bucket,
    Line,
    Posted,
    Posting,
    validate_lines,
)
from agentstate.money.ledger.statement import load_posted
from agentstate.state import codec
from agentstate.store.queries import load_queries
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions
from agentstate.store.upsert import insert_new

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_QUERIES = load_queries(__package__)
_UPDATE_ACCOUNT = (
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("account"))
    .values(
        balance=sa.bindparam("new_balance"),
        version=sa.bindparam("new_version"),
        head=sa.bindparam("new_head"),
        touched_at=sa.bindparam("new_time", type_=accounts.c.touched_at.type),
    )
)


def posting_ctes(decision: str, *, precondition: str = "", on_conflict: str = "", exclusive: bool = False) -> str:
    """Return the parts of a `WITH` that write one posting; `posting_parameters` gives their values.

    The parts run in the order of their data: the accounts are locked before anything else. Code that locks other rows
    in the same transaction has to take the accounts first too, or two transactions could wait for each other.

    Args:
        decision: a query that gives a row when the posting is to be written; it reads `ending`, where `possible` says
            whether it can be, and may write rows of its own.
        precondition: a `WHERE` clause without which the accounts are not even locked.
        on_conflict: the `ON CONFLICT` clause for a key, an id or a hold in use; an error unless given.
        exclusive: keep other postings of the agent out until the transaction ends, because it may post again.
    """
    return (
        _QUERIES["posting_ctes"]
        .replace("/* lock mode */", "" if exclusive else "_shared")
        .replace("/* precondition */", precondition)
        .replace("/* decision */", decision)
        .replace("/* on conflict */", on_conflict)
    )


def _insert_statement(*, exclusive: bool) -> str:
    decision = "SELECT FROM ending WHERE possible"
    ctes = posting_ctes(decision, on_conflict="ON CONFLICT DO NOTHING", exclusive=exclusive)
    return f"WITH {ctes} SELECT recorded_at FROM posted"  # noqa: S608 made of our own texts


_INSERT_ALONE = _insert_statement(exclusive=False)
_INSERT_IN_TRANSACTION = _insert_statement(exclusive=True)


def write_posting(tx: Transaction, agent_id: str, posting: Posting) -> Posted:
    """Write `posting` in `tx`, or return the transaction that was written under its key before.

    Raises:
        Unbalanced, InvalidInput: the lines or the key are wrong. KeyReused: the key was used for another posting.
        InsufficientFunds: an account would pass its floor. Conflict: the hold was resolved before.
    """
    sha = fingerprint_posting(posting)
    return _try_insert(tx, agent_id, posting, sha) or _explain_refusal(tx, agent_id, posting, sha)


def commit_posting(store: Store, agent_id: str, posting: Posting) -> Posted:
    """Do as `write_posting` in a transaction of its own: a single round trip on Postgres."""
    sha, txn_id = fingerprint_posting(posting), posting.id or new_id()
    if store.database.has_single_statement_commit and fits_one_statement(posting):
        row = store.commit_one(_INSERT_ALONE, posting_parameters(agent_id, posting, sha=sha, txn_id=txn_id))
        if row is not None:
            return _posted(posting, txn_id, row[0])
    with store.transaction() as tx:
        return _try_insert(tx, agent_id, posting, sha) or _explain_refusal(tx, agent_id, posting, sha)


def fingerprint_posting(posting: Posting) -> bytes:
    """Validate `posting` and return the fingerprint that its key stands for; raise InvalidInput or Unbalanced."""
    validate_lines(posting.lines)
    if posting.sha is not None:
        return posting.sha
    validate_name(posting.kind, "kind")
    # The money that moves, and when; notes (`meta`) may differ in a retry.
    lines = sorted((line.service, str(line.bucket), line.amount.currency, line.amount.minor) for line in posting.lines)
    return codec.fingerprint_value([posting.kind, lines, posting.resolves, posting.effective_at])


def find_transaction(connection: sa.Connection, agent_id: str, scope: str, key: str) -> sa.Row[Any] | None:
    """Return the row of the transaction under `key`, None when there is none."""
    table = ledger_transactions.c
    mine = (table.agent_id == agent_id) & (table.scope == scope) & (table.key == key)
    return connection.execute(sa.select(ledger_transactions).where(mine)).one_or_none()


def fits_one_statement(posting: Posting) -> bool:
    """True if one statement can write `posting`: it has one line for each of its accounts."""
    return len({line.account for line in posting.lines}) == len(posting.lines)


def posting_parameters(
    agent_id: str, posting: Posting, *, sha: bytes | None = None, txn_id: UUID | None = None
) -> dict[str, Any]:
    """Return the values of `posting_ctes` by name; the posting is validated unless its fingerprint is given.

    Numbers and lists go as text: the driver would name a number's type by its size, and the server would plan the
    statement anew for each mixture.
    """
    account_ids = [str(account_id(agent_id, line.account)) for line in posting.lines]
    amounts = [str(line.amount.minor) for line in posting.lines]
    return {
        "account_ids": "{" + ",".join(account_ids) + "}",
        "amounts": "{" + ",".join(amounts) + "}",
        "lines": str(len(posting.lines)),
        "ledger_of": agent_id,
        "txn_id": txn_id or posting.id or new_id(),
        "scope": posting.scope,
        "txn_key": posting.key,
        "txn_sha": sha or fingerprint_posting(posting),
        "kind": posting.kind,
        "effect_id": posting.effect_id,
        "resolves": posting.resolves,
        "effective_at": posting.effective_at,
        "meta": None if posting.meta is None else codec.dumps(dict(posting.meta)),
    }


def hash_entry(
    head: bytes | None, *, account: UUID, seq: int, txn: UUID, amount: int, balance_after: int, recorded_at: datetime
) -> bytes:
    """Return the 32 bytes that seal an entry on top of `head` (None before the first)."""
    microseconds = (recorded_at - _EPOCH) // timedelta(microseconds=1)
    numbers = f"{seq}|{amount}|{balance_after}|{microseconds}".encode()
    return hashlib.sha256((head or bytes(32)) + account.bytes + txn.bytes + numbers).digest()


def _try_insert(tx: Transaction, agent_id: str, posting: Posting, sha: bytes) -> Posted | None:
    """Write `posting`; None when it could not be written and nothing was."""
    txn_id = posting.id or new_id()
    if tx.database.has_single_statement_commit and fits_one_statement(posting):
        values = posting_parameters(agent_id, posting, sha=sha, txn_id=txn_id)
        recorded_at = tx.connection.exec_driver_sql(_INSERT_IN_TRANSACTION, values).scalar_one_or_none()
    else:
        recorded_at = _insert_stepwise(tx, agent_id, posting, sha, txn_id)
    return None if recorded_at is None else _posted(posting, txn_id, recorded_at)


def _insert_stepwise(tx: Transaction, agent_id: str, posting: Posting, sha: bytes, txn_id: UUID) -> datetime | None:
    """Write `posting` and return its time, by the rules of `posting_ctes`; None when it could not be written.

    Raises:
        AmountInvalid: a balance would be beyond the largest amount.
    """
    keys = {line.account for line in posting.lines}
    lock_ledgers(tx, [agent_id])
    locked, now = lock_accounts(tx, agent_id, keys)
    if len(locked) < len(keys) or _find_shortages(posting.lines, locked):
        return None
    # Strictly later than each account's last entry: an account's history is ordered by time as by number.
    recorded_at = max(now, *(account.touched_at + _TICK for account in locked.values()))
    transaction: dict[str, Any] = {
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
    rows: list[dict[str, Any]] = []
    for line in posting.lines:
        before = locked[line.account]
        after = Money.from_minor(before.balance, line.amount.currency) + line.amount
        entry: dict[str, Any] = {
            "seq": before.version + 1,
            "amount": line.amount.minor,
            "balance_after": after.minor,
            "recorded_at": recorded_at,
        }
        sealed = hash_entry(before.head, account=before.id, txn=txn_id, **entry)
        locked[line.account] = replace(before, balance=after.minor, version=entry["seq"], head=sealed)
        rows.append({"account_id": before.id, "txn_id": txn_id, "hash": sealed, **entry})
    if not insert_new(tx, ledger_transactions, [transaction]):
        return None
    tx.database.insert_rows(tx.connection, entries, rows)
    changes = [
        {
            "account": account.id,
            "new_balance": account.balance,
            "new_version": account.version,
            "new_head": account.head,
            "new_time": recorded_at,
        }
        for account in locked.values()
    ]
    tx.connection.execute(_UPDATE_ACCOUNT, changes)
    return recorded_at


def _explain_refusal(tx: Transaction, agent_id: str, posting: Posting, sha: bytes) -> Posted:
    """Find the reason for which `posting` was not written, repair it if possible, and try again."""
    lock_ledgers(tx, [agent_id])
    # Written before, under the same key, or its hold was resolved before.
    replayed = _find_replay(tx, agent_id, posting, sha)
    if replayed is not None:
        return replayed
    if posting.resolves is not None:
        table = ledger_transactions.c
        resolved = sa.select(table.kind).where(table.resolves == posting.resolves)
        kind = tx.connection.execute(resolved).scalar_one_or_none()
        if kind is not None:
            raise Conflict(f"the hold {posting.resolves} has ended already, by a {kind}. Nothing was posted.")

    # Open the accounts that are missing, and those that a shortage would go to.
    keys = {line.account for line in posting.lines}
    if posting.suspend_shortage:
        keys |= {AccountKey(key.service, Bucket.SUSPENSE, key.currency) for key in keys}
    open_accounts(tx, [(agent_id, key) for key in keys])
    locked, _ = lock_accounts(tx, agent_id, keys)

    # Refuse a shortage, or cover it from suspense.
    lines = list(posting.lines)
    for key, shortage in _find_shortages(posting.lines, locked).items():
        lacking, has = Money.from_minor(shortage, key.currency), Money.from_minor(locked[key].balance, key.currency)
        if not posting.suspend_shortage:
            what = f"{posting.kind} {posting.key!r}" if posting.scope == CALLER_SCOPE else f"this {posting.kind}"
            raise InsufficientFunds(
                f"{agent_id} has {has} in {key.service}/{key.bucket}, {lacking} too little for {what}. "
                "Nothing was posted."
            )
        lines += [Line(key.service, key.bucket, lacking), Line(key.service, Bucket.SUSPENSE, -lacking)]
    repaired = replace(posting, lines=lines)
    written = _try_insert(tx, agent_id, repaired, sha) or _find_replay(tx, agent_id, posting, sha)
    if written is not None:
        return written
    balances = {key: Money.from_minor(account.balance, key.currency) for key, account in locked.items()}
    for line in posting.lines:
        balances[line.account] += line.amount  # AmountInvalid, when it is beyond the largest amount
    raise InvalidInput(f"the posting {posting.key!r} uses an id that is in use. Nothing was posted.")


def _find_replay(tx: Transaction, agent_id: str, posting: Posting, sha: bytes) -> Posted | None:
    """Return the transaction that was written under the key of `posting`; raise KeyReused when it is another one."""
    found = find_transaction(tx.connection, agent_id, posting.scope, posting.key)
    if found is None:
        return None
    if found.params_sha != sha:
        raise KeyReused(
            f"the key {posting.key!r} of {agent_id} was used on {found.recorded_at:%Y-%m-%d %H:%M:%S} UTC "
            f"for another posting ({found.kind}). Nothing was posted; use a new key for a new posting."
        )
    return load_posted(found, posting.lines, replayed=True)


def _find_shortages(lines: Iterable[Line], locked: Mapping[AccountKey, Account]) -> dict[AccountKey, int]:
    """Return by how many minor units each account would end below its floor, sorted by account."""
    ends = {key: account.balance for key, account in locked.items()}
    for line in lines:
        ends[line.account] += line.amount.minor
    floors = {key: account.floor for key, account in sorted(locked.items()) if account.floor is not None}
    return {key: floor - ends[key] for key, floor in floors.items() if ends[key] < floor}


def _posted(posting: Posting, txn_id: UUID, recorded_at: datetime) -> Posted:
    return Posted(
        id=txn_id,
        key=posting.key,
        kind=posting.kind,
        lines=tuple(posting.lines),
        effective_at=posting.effective_at or recorded_at.astimezone(UTC),
        recorded_at=recorded_at.astimezone(UTC),
        effect_id=posting.effect_id,
        resolves=posting.resolves,
        meta=None if posting.meta is None else dict(posting.meta),
    )
