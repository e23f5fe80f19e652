"""Reading the books back: balances, transactions with their lines, and statements page by page.

A page of a statement ends at an account and an entry number. Numbers have no gaps and are given under the account's
lock, so an entry that is committed late can never land behind a reader who has passed its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput, NotFound
from agentstate.money.amounts import Money
from agentstate.money.ledger.accounts import account_id
from agentstate.money.ledger.postings import AccountKey, Line, Posted
from agentstate.store.tables.minor_units import minor_sum
from agentstate.store.tables.money import account_snapshots, accounts, entries, ledger_transactions

HOLD = "hold"
"""Kind of the transactions that hold money."""

MAX_PAGE = 1_000
_RECENT_MONTHS = timedelta(days=62)
_LINES = (
    sa.select(entries.c.txn_id, entries.c.amount, accounts.c.service, accounts.c.bucket, accounts.c.currency)
    .join(accounts)
    .order_by(entries.c.account_id, entries.c.seq)
)
_STATEMENT = (
    sa.select(
        entries,
        *(accounts.c[name] for name in ("service", "bucket", "currency")),
        *(ledger_transactions.c[name] for name in ("key", "kind", "effective_at")),
    )
    .join(accounts, accounts.c.id == entries.c.account_id)
    .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
    .order_by(entries.c.account_id, entries.c.seq)
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a statement: after entry `seq` of an account."""

    account_id: UUID
    seq: int

    def __str__(self) -> str:
        return f"{self.account_id}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that `str` printed; raise InvalidInput for other text."""
        account, _, seq = text.partition(":")
        try:
            return cls(UUID(account), int(seq))
        except ValueError:
            raise InvalidInput(
                f"{text[:80]!r} is no place in a statement; pass the `next` of the page before."
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry with its balance afterwards, and the transaction that it belongs to."""

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
    """A page of a statement; `next` is the place where the next page begins, None on the last page."""

    lines: tuple[StatementLine, ...]
    next: Cursor | None


def read_balance_at(connection: Connection, agent_id: str, key: AccountKey, as_of: datetime) -> int:
    """Return the balance, in minor units, after the last entry recorded at `as_of` or before; 0 before the first."""
    mine = (entries.c.account_id == account_id(agent_id, key)) & (entries.c.recorded_at <= as_of)
    # Most accounts moved lately: looking there first avoids probing the table of every past month.
    recent = as_of - _RECENT_MONTHS if as_of.year > 1 else as_of
    for within in (entries.c.recorded_at > recent, sa.true()):
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
    """Return the sum of an agent's entries in minor units, independent of the balances in the account rows.

    Starts at each account's newest attested point; `whole`: at the first entry.
    """
    attested = account_snapshots.c.account_id == accounts.c.id
    candidates = attested & sa.false() if whole else attested
    newest = sa.select(sa.func.max(account_snapshots.c.seq)).where(candidates).correlate(accounts).scalar_subquery()
    before = sa.select(account_snapshots.c.balance).where(attested, account_snapshots.c.seq == newest)
    tail = (entries.c.account_id == accounts.c.id) & (entries.c.seq > sa.func.coalesce(newest, 0))
    since = sa.select(minor_sum(entries.c.amount)).where(tail)
    statement = (
        sa.select(
            before.correlate(accounts).scalar_subquery().label("before"),
            since.correlate(accounts).scalar_subquery().label("since"),
        )
        .select_from(accounts)
        .where(accounts.c.agent_id == agent_id, accounts.c.currency == currency, accounts.c.bucket == bucket)
    )
    if service is not None:
        statement = statement.where(accounts.c.service == service)
    return sum(int(row.before or 0) + int(row.since or 0) for row in connection.execute(statement))


def read_lines(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[Line]]:
    """Return the lines of each transaction in `ids`, in the order of account and number."""
    lines: dict[UUID, list[Line]] = defaultdict(list)
    for row in connection.execute(_LINES.where(entries.c.txn_id.in_(ids))):
        lines[row.txn_id].append(Line(row.service, row.bucket, Money.from_minor(row.amount, row.currency)))
    return lines


def read_hold_lines(connection: Connection, agent_id: str, hold_id: UUID) -> list[Line]:
    """Return the lines of an agent's hold; raise NotFound when it has none with this id."""
    table = ledger_transactions.c
    mine = (table.id == hold_id) & (table.agent_id == agent_id) & (table.kind == HOLD)
    rows = connection.execute(_LINES.join(ledger_transactions, table.id == entries.c.txn_id).where(mine))
    lines = [Line(row.service, row.bucket, Money.from_minor(row.amount, row.currency)) for row in rows]
    if not lines:
        raise NotFound(f"{agent_id} has no hold {hold_id}.")
    return lines


def read_transactions(connection: Connection, agent_id: str, limit: int, *, only: UUID | None = None) -> list[Posted]:
    """Return the newest transactions of an agent, newest first; `only` the one with this id when given."""
    table = ledger_transactions.c
    conditions = [table.agent_id == agent_id] + ([] if only is None else [table.id == only])
    statement = (
        sa.select(ledger_transactions)
        .where(*conditions)
        .order_by(table.recorded_at.desc(), table.id.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    lines = read_lines(connection, [row.id for row in rows])
    return [load_posted(row, lines[row.id]) for row in rows]


def load_posted(row: sa.Row[Any], lines: Sequence[Line], *, replayed: bool = False) -> Posted:
    """Return the transaction of a row of `ledger_transactions`."""
    names = ("id", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "meta")
    return Posted(lines=tuple(lines), replayed=replayed, **{name: getattr(row, name) for name in names})


def read_statement_page(
    connection: Connection,
    agent_id: str,
    wanted: Mapping[str, str | None],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: Cursor | None,
    limit: int,
) -> StatementPage:
    """Return the entries after `after` of the accounts that match; raise InvalidInput for a limit out of range."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"a page of {limit} entries is refused: use 1 to {MAX_PAGE}.")
    conditions = [accounts.c[name] == value for name, value in wanted.items() if value is not None]
    conditions += [entries.c.recorded_at >= since] if since is not None else []
    conditions += [entries.c.recorded_at < until] if until is not None else []
    if after is not None:
        same_account = (entries.c.account_id == after.account_id) & (entries.c.seq > after.seq)
        conditions.append((entries.c.account_id > after.account_id) | same_account)
    statement = _STATEMENT.where(accounts.c.agent_id == agent_id, *conditions).limit(limit + 1)
    lines = tuple(
        StatementLine(
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
        for row in connection.execute(statement)
    )
    if len(lines) <= limit:
        return StatementPage(lines, None)
    last = lines[limit - 1]
    return StatementPage(lines[:limit], Cursor(last.account_id, last.seq))
