"""Reading transactions back, with their lines, from the entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.money.amounts import Money
from agentstate.money.ledger.postings import Line, Posted
from agentstate.store.tables.money import accounts, entries, ledger_transactions

_LINES = (
    sa.select(entries.c.txn_id, entries.c.amount, accounts.c.service, accounts.c.bucket, accounts.c.currency)
    .join(accounts)
    .order_by(entries.c.account_id, entries.c.seq)
)


def read_lines(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[Line]]:
    """The lines of each transaction of `ids`, in the order of account and number."""
    lines: dict[UUID, list[Line]] = defaultdict(list)
    for row in connection.execute(_LINES.where(entries.c.txn_id.in_(ids))):
        lines[row.txn_id].append(_line(row))
    return lines


def read_hold_lines(connection: Connection, agent_id: str, hold_id: UUID, kind: str) -> list[Line]:
    """The lines of an agent's transaction when it is of `kind`, else none."""
    table = ledger_transactions.c
    mine = (table.id == hold_id) & (table.agent_id == agent_id) & (table.kind == kind)
    statement = _LINES.join(ledger_transactions, table.id == entries.c.txn_id).where(mine)
    return [_line(row) for row in connection.execute(statement)]


def read_transactions(connection: Connection, agent_id: str, limit: int, *, only: UUID | None = None) -> list[Posted]:
    """The newest transactions of an agent, newest first; `only` one of them when named."""
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
    return [
        Posted(
            id=row.id,
            key=row.key,
            kind=row.kind,
            lines=tuple(lines[row.id]),
            effective_at=row.effective_at,
            recorded_at=row.recorded_at,
            effect_id=row.effect_id,
            resolves=row.resolves,
            meta=row.meta,
        )
        for row in rows
    ]


def _line(row: Any) -> Line:
    return Line(row.service, row.bucket, Money.from_minor(row.amount, row.currency))
