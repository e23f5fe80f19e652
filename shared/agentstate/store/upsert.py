"""Inserts of rows that may already exist, in one statement that is the same on Postgres and SQLite."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from agentstate.store.store import Transaction


def insert_returning(tx: Transaction, table: sa.Table, row: dict[str, Any], *given: sa.ColumnElement[Any]) -> Any:
    """Insert `row` unless it meets a unique rule; return the `given` columns as stored, None when it was not inserted.

    On Postgres this waits as `insert_new` does.
    """
    statement = tx.database.insert_into(table).values(row).on_conflict_do_nothing().returning(*given)
    return tx.connection.execute(statement).one_or_none()


def insert_new(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]]) -> int:
    """Insert those of `rows` that meet no unique rule of `table`; return how many were.

    On Postgres this waits for another transaction that is inserting the same row, and sees it when that commits.
    """
    if not rows:
        return 0
    statement = tx.database.insert_ignoring_conflicts(table)
    if len(rows) > 1:
        return len(tx.connection.execute(statement.values(rows)).all())
    # A single row is given apart from the statement, which is compiled once; what is SQL itself cannot be.
    computed = {name: value for name, value in rows[0].items() if isinstance(value, sa.ClauseElement)}
    plain = {name: value for name, value in rows[0].items() if name not in computed}
    return len(tx.connection.execute(statement.values(computed) if computed else statement, plain).all())


def insert_or_add(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]], column: str) -> None:
    """Insert `rows`; where there is one with the same primary key, add to its `column` instead."""
    insert = tx.database.insert_into(table)
    more = {column: table.c[column] + insert.excluded[column]}
    tx.connection.execute(insert.values(rows).on_conflict_do_update(index_elements=table.primary_key, set_=more))
