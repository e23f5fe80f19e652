"""Writing one ledger transaction: the only code that adds entries.

The idea: try to write it whole, which is what nearly always happens, and only when that is refused find out why: it was
written before, an account has still to be opened, or is too low. A posting that is refused has written nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import Conflict, InsufficientFunds, InvalidInput, KeyReused
from agentstate.ids import new_id
from agentstate.money.amounts import Money
from agentstate.money.effects.fingerprint import fingerprint
from agentstate.money.ledger.accounts import Account, lock_accounts, open_accounts
from agentstate.money.ledger.posting_statement import POST, fits_one_statement, posting_parameters
from agentstate.money.ledger.posting_steps import find_shortages, insert_posting_stepwise
from agentstate.money.ledger.postings import (
    CALLER_SCOPE,
    AccountKey,
    Bucket,
    Line,
    Posted,
    Posting,
    validate_key,
    validate_lines,
)
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import ledger_transactions


class LedgerWriter:
    """Writes postings of one agent."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id

    def write(self, tx: Transaction, posting: Posting) -> Posted:
        """Write `posting` in `tx`, or return what was written under its key before.

        Raises:
            Unbalanced, InvalidInput: the lines or the key are wrong. KeyReused: the key was used for another posting.
            InsufficientFunds: an account would pass its floor. Conflict: the hold was resolved before.
        """
        sha = fingerprint_posting(posting)
        return self._tried(tx, posting, sha) or self._explained(tx, posting, sha)

    def write_alone(self, store: Store, posting: Posting) -> Posted:
        """`write` in a transaction of its own; on Postgres a single round trip, which commits."""
        sha, txn_id = fingerprint_posting(posting), posting.id or new_id()
        if store.database.has_single_statement_commit and fits_one_statement(posting):
            row = store.commit_one(POST, posting_parameters(self._agent_id, posting, sha, txn_id))
            if row is not None:
                return _written(posting, txn_id, row[0])
        with store.transaction() as tx:
            return self._tried(tx, posting, sha) or self._explained(tx, posting, sha)

    def find(self, connection: sa.Connection, scope: str, key: str) -> sa.Row[Any] | None:
        """The transaction row under `key`, if there is one."""
        table = ledger_transactions.c
        mine = (table.agent_id == self._agent_id) & (table.scope == scope) & (table.key == key)
        return connection.execute(sa.select(ledger_transactions).where(mine)).one_or_none()

    def _tried(self, tx: Transaction, posting: Posting, sha: bytes) -> Posted | None:
        txn_id = posting.id or new_id()
        if tx.database.has_single_statement_commit and fits_one_statement(posting):
            values = posting_parameters(self._agent_id, posting, sha, txn_id)
            recorded_at = tx.connection.exec_driver_sql(POST, values).scalar_one_or_none()
        else:
            recorded_at = insert_posting_stepwise(tx, self._agent_id, posting, sha, txn_id)
        return None if recorded_at is None else _written(posting, txn_id, recorded_at)

    def _explained(self, tx: Transaction, posting: Posting, sha: bytes) -> Posted:
        """Find out why it was not written, mend what can be, and try again."""
        replayed = self._before(tx, posting, sha)
        if replayed is not None:
            return replayed
        _refuse_resolved(tx, posting)
        locked = self._opened(tx, posting)
        lacking = find_shortages(posting.lines, locked)
        if lacking and not posting.suspend_shortage:
            raise InsufficientFunds(_refusal(self._agent_id, posting, locked, lacking))
        mended = replace(posting, lines=[*posting.lines, *_covering(lacking)])
        written = self._tried(tx, mended, sha) or self._before(tx, posting, sha)
        if written is None:
            _refuse_overflow(posting.lines, locked)
            raise InvalidInput(f"the posting {posting.key!r} meets an id in use. Nothing was posted.")
        return written

    def _opened(self, tx: Transaction, posting: Posting) -> dict[AccountKey, Account]:
        """The accounts of the posting, and those that its shortages would go to, opened and locked."""
        keys = {line.account for line in posting.lines}
        if posting.suspend_shortage:
            keys |= {AccountKey(key.service, Bucket.SUSPENSE, key.currency) for key in keys}
        open_accounts(tx, self._agent_id, keys)
        return lock_accounts(tx, self._agent_id, keys)[0]

    def _before(self, tx: Transaction, posting: Posting, sha: bytes) -> Posted | None:
        found = self.find(tx.connection, posting.scope, posting.key)
        if found is None:
            return None
        if found.params_sha != sha:
            raise KeyReused(
                f"the key {posting.key!r} of {self._agent_id} was used on {found.recorded_at:%Y-%m-%d %H:%M:%S} UTC "
                f"for another posting ({found.kind}). Nothing was posted; use a new key for a new posting."
            )
        names = ("id", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "meta")
        stored = {name: getattr(found, name) for name in names}
        return Posted(lines=tuple(posting.lines), replayed=True, **stored)


def fingerprint_posting(posting: Posting) -> bytes:
    """What the key of `posting` stands for; raises InvalidInput or Unbalanced when it cannot be posted."""
    validate_key(posting.key)
    validate_lines(posting.lines)
    if posting.sha is not None:
        return posting.sha
    # What moves money and when; notes (`meta`) may differ in a retry.
    lines = sorted((line.service, str(line.bucket), line.amount.currency, line.amount.minor) for line in posting.lines)
    return fingerprint([posting.kind, lines, posting.resolves, posting.effective_at])


def _written(posting: Posting, txn_id: UUID, recorded_at: datetime) -> Posted:
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
        replayed=False,
    )


def _covering(lacking: Mapping[AccountKey, int]) -> list[Line]:
    lines = []
    for key, lack in lacking.items():
        money = Money.from_minor(lack, key.currency)
        lines += [Line(key.service, key.bucket, money), Line(key.service, Bucket.SUSPENSE, -money)]
    return lines


def _refuse_resolved(tx: Transaction, posting: Posting) -> None:
    if posting.resolves is None:
        return
    table = ledger_transactions.c
    resolved = tx.connection.execute(
        sa.select(table.kind).where(table.resolves == posting.resolves)
    ).scalar_one_or_none()
    if resolved is not None:
        raise Conflict(f"the hold {posting.resolves} has ended already, by a {resolved}. Nothing was posted.")


def _refuse_overflow(lines: Sequence[Line], locked: Mapping[AccountKey, Account]) -> None:
    """Raise AmountInvalid when an account would hold more than an amount can be."""
    balances = {key: Money.from_minor(account.balance, key.currency) for key, account in locked.items()}
    for line in lines:
        balances[line.account] += line.amount


def _refusal(
    agent_id: str, posting: Posting, locked: Mapping[AccountKey, Account], lacking: Mapping[AccountKey, int]
) -> str:
    key, lack = min(lacking.items())
    has = Money.from_minor(locked[key].balance, key.currency)
    what = f"{posting.kind} {posting.key!r}" if posting.scope == CALLER_SCOPE else f"this {posting.kind}"
    lacking_amount = Money.from_minor(lack, key.currency)
    return (
        f"{agent_id} has {has} in {key.service}/{key.bucket}, {lacking_amount} too little for {what}. "
        "Nothing was posted."
    )
