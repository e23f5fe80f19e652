"""Statements: the entries of an agent's accounts, page by page.

A page ends at an account and a number. Numbers have no gaps and are given under the account's lock, so an entry that is
committed late can never land behind a reader who has passed its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.store.tables.money import accounts, entries, ledger_transactions

MAX_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a statement: behind entry `seq` of an account."""

    account_id: UUID
    seq: int

    def __str__(self) -> str:
        return f"{self.account_id}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `str` made; raises InvalidInput for other text."""
        account, _, seq = text.partition(":")
        try:
            return cls(UUID(account), int(seq))
        except ValueError:
            raise InvalidInput(
                f"{text[:80]!r} is no place in a statement; give the one that a page ended with."
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry, and the transaction that it is part of."""

    account_id: UUID
    seq: int
    service: str
    bucket: str
    amount: Money
    balance: Money
    txn_id: UUID
    key: str
    kind: str
    effective_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A page; `next` is where the next one begins, None when this is the last."""

    lines: tuple[StatementLine, ...]
    next: Cursor | None


def read_statement_page(
    connection: Connection, agent_id: str, wanted: Mapping[str, str | None], *, after: Cursor | None, limit: int
) -> StatementPage:
    """The entries behind `after` of the accounts that match; raises InvalidInput for a limit out of range."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"a page of {limit} entries is refused: use 1 to {MAX_PAGE}.")
    conditions = [accounts.c[name] == value for name, value in wanted.items() if value is not None]
    if after is not None:
        conditions.append(_behind(after))
    statement = _LINES.where(accounts.c.agent_id == agent_id, *conditions).limit(limit + 1)
    lines = tuple(_line(row) for row in connection.execute(statement))
    if len(lines) <= limit:
        return StatementPage(lines, None)
    last = lines[limit - 1]
    return StatementPage(lines[:limit], Cursor(last.account_id, last.seq))


_LINES = (
    sa.select(
        entries,
        *(accounts.c[name] for name in ("service", "bucket", "currency")),
        *(ledger_transactions.c[name] for name in ("key", "kind", "effective_at")),
    )
    .join(accounts, accounts.c.id == entries.c.account_id)
    .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
    .order_by(entries.c.account_id, entries.c.seq)
)


def _behind(after: Cursor) -> sa.ColumnElement[bool]:
    same = (entries.c.account_id == after.account_id) & (entries.c.seq > after.seq)
    return (entries.c.account_id > after.account_id) | same


def _line(row: sa.Row[Any]) -> StatementLine:
    return StatementLine(
        account_id=row.account_id,
        seq=row.seq,
        service=row.service,
        bucket=row.bucket,
        amount=Money.from_minor(row.amount, row.currency),
        balance=Money.from_minor(row.balance_after, row.currency),
        txn_id=row.txn_id,
        key=row.key,
        kind=row.kind,
        effective_at=row.effective_at,
        recorded_at=row.recorded_at,
    )
