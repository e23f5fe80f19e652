"""The months of the ledger on Postgres: a table of its own for the entries of each, made before it begins.

What no table was made for lands in `entries_other`, so a posting never waits for housekeeping; a month that has begun
there stays there. SQLite keeps all entries in one table, and has no months to make.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.store.engine import database_of
from agentstate.store.store import Store

MONTHS_AHEAD = 3
"""Months after the present one that are made ahead."""

_MAKE = sa.text("SELECT agentstate_add_entries_month(now() + make_interval(months => :ahead))")
_PARTS = sa.text(
    "SELECT child.relname FROM pg_inherits "
    "JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = 'entries'::regclass ORDER BY child.relname"
)
_NEXT = sa.text("SELECT to_char((now() + interval '1 month') AT TIME ZONE 'UTC', '\"entries_\"YYYY_MM')")


@dataclass(frozen=True, slots=True)
class LedgerPartitions:
    """Partitions of the ledger: their names, whether next month's exists, and the count of entries outside them."""

    parts: tuple[str, ...]
    next_is_made: bool
    others: int


def create_partitions(store: Store, ahead: int = MONTHS_AHEAD) -> int:
    """Make the tables of the present month and of `ahead` months after it; return how many were new.

    Safe to run at any time and from several places at once; nobody's posting waits for it longer than it takes to add
    an empty table.
    """
    if not store.database.is_server:
        return 0
    made = 0
    for month in range(ahead + 1):
        # One transaction each: the locks of adding a table are held for a moment only.
        with store.transaction() as tx:
            made += bool(tx.connection.execute(_MAKE, {"ahead": month}).scalar_one())
    return made


def describe_partitions(connection: Connection) -> LedgerPartitions | None:
    """Return the ledger's partitions on Postgres, None on SQLite."""
    if not database_of(connection).is_server:
        return None
    parts = tuple(row.relname for row in connection.execute(_PARTS))
    others = connection.execute(sa.text("SELECT count(*) FROM entries_other")).scalar_one()
    return LedgerPartitions(parts, connection.execute(_NEXT).scalar_one() in parts, others)
