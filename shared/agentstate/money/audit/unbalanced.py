"""Money that appeared or vanished: agents whose balances, and transactions whose entries, do not sum to zero.

The sum over an agent's accounts tells at once whether all its transactions are whole; only where it does not is the
one at fault looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.tables.money import accounts, entries, ledger_transactions

_MOST = 20
"""Transactions that are named for each agent."""


def unbalanced(connection: Connection) -> list[dict[str, Any]]:
    """What does not sum to zero, each with its agent, account, entry and reason; `connection` is `consistent`."""
    total = sa.func.sum(accounts.c.balance)
    grouped = sa.select(accounts.c.agent_id, accounts.c.currency, total.label("total"))
    wrong = connection.execute(grouped.group_by(accounts.c.agent_id, accounts.c.currency).having(total != 0)).all()
    return [found for row in wrong for found in _named(connection, row.agent_id, row.currency, int(row.total))]


def _named(connection: Connection, agent_id: str, currency: str, total: int) -> Iterator[dict[str, Any]]:
    rows = connection.execute(_transactions(agent_id, currency)).all()
    for row in rows:
        line = connection.execute(_first_line(row.txn_id, currency)).one()
        yield {
            "agent_id": agent_id,
            "service": line.service,
            "bucket": line.bucket,
            "currency": currency,
            "seq": line.seq,
            "reason": f"the entries of {row.kind} {row.key!r} ({row.txn_id}) sum to {int(row.total)}, not to zero",
        }
    if not rows:
        reason = f"the balances of {agent_id} sum to {total}, not to zero"
        yield {
            "agent_id": agent_id, "service": "ledger", "bucket": "-", "currency": currency, "seq": None,
            "reason": reason,
        }  # fmt: skip


def _transactions(agent_id: str, currency: str) -> sa.Select[Any]:
    total = sa.func.sum(entries.c.amount)
    named = (entries.c.txn_id, ledger_transactions.c.kind, ledger_transactions.c.key)
    return (
        sa.select(*named, total.label("total"))
        .join(accounts, accounts.c.id == entries.c.account_id)
        .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
        .where(accounts.c.agent_id == agent_id, accounts.c.currency == currency)
        .group_by(*named)
        .having(total != 0)
        .limit(_MOST)
    )


def _first_line(txn_id: Any, currency: str) -> sa.Select[Any]:
    return (
        sa.select(accounts.c.service, accounts.c.bucket, entries.c.seq)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .where(entries.c.txn_id == txn_id, accounts.c.currency == currency)
        .order_by(entries.c.account_id, entries.c.seq)
        .limit(1)
    )
