"""References of the benchmarks: one bare INSERT commit by SQLAlchemy, and the guide's JSON encoder.

The insert is the plainest durable write there is, on the same server or in a file beside the measured one. The guide's
encoder is the standard library's JSON with a hook for Decimal each way: a Decimal becomes a dict with one tagged key;
nothing else is checked, so floats pass, tuples become lists, and a dict with that key becomes a Decimal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

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


_TAG = "__decimal__"


class _DecimalTagger(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        return {_TAG: str(o)} if isinstance(o, Decimal) else super().default(o)


def dump_json(value: Any) -> str:
    """`value` as the guide's encoder writes it."""
    return json.dumps(value, cls=_DecimalTagger)


def load_json(text: str) -> Any:
    """Parse text with the guide's hook."""
    return json.loads(text, object_hook=lambda found: Decimal(found[_TAG]) if _TAG in found else found)
