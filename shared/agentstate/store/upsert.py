"""Inserting what may be there already, in one statement that is the same on Postgres and SQLite."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from agentstate.store.store import Transaction


def insert_new(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]]) -> int:
    """Insert those of `rows` that meet no unique rule of `table`; return how many were.

    On Postgres this waits for another transaction that is inserting the same row, and sees it when that commits.
    """
    if not rows:
        return 0
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    statement = insert(table).values(rows).on_conflict_do_nothing().returning(*table.primary_key)
    return len(tx.connection.execute(statement).all())
