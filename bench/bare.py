"""The plainest durable write there is: one row inserted into a small table and committed, by SQLAlchemy.

What anything durable is measured against; on the same server, or in a file beside the one that is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from agentstate.store.engine import open_engine

TABLE = sa.Table(
    "bench_bare",
    sa.MetaData(),
    # An Integer: SQLite gives numbers of its own to no other type.
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("payload", sa.String(200), nullable=False),
)


def make_bare_insert(url: str, *, clients: int = 1) -> Callable[[], None]:
    """Return a function that inserts and commits one row at `url`, callable from `clients` threads.

    On Postgres by an engine as SQLAlchemy makes it; on SQLite by ours, because its driver's own does not sync.
    """
    engine = open_engine(url) if url.startswith("sqlite") else sa.create_engine(url, pool_size=clients)
    TABLE.metadata.create_all(engine)

    def insert() -> None:
        with engine.begin() as connection:
            connection.execute(sa.insert(TABLE), {"payload": "bet, heads, 1.00 USDC"})

    return insert
