"""The circuit of an embedding provider: whether it may be called now, known to all workers of all machines.

A provider that fails again and again, asks for rest, or refuses everything is left alone for a while by everybody.
When the time is over one process tries; if that goes well, all go on.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from agentstate.store.store import Store
from agentstate.store.tables import provider_circuits
from agentstate.store.tables.base import db_time

OPENS_AFTER = 5
"""Failures in a row, over all workers."""
FIRST_REST_S = 2.0
LONGEST_REST_S = 300.0
TRIAL_S = 30.0
"""How long the others wait for the one that tries."""


class ProviderCircuit:
    """The circuit of one vector space's provider. Safe to share between threads."""

    def __init__(self, store: Store, space: str) -> None:
        self._store = store
        self._space = space
        self._mine = provider_circuits.c.space == space

    def pause_s(self) -> float:
        """Seconds until the provider may be called, 0 when it may now; takes no turn."""
        return max(self._read_state()[0], 0.0)

    def admit_call(self) -> float:
        """As `rest_s`; but of those who come when a rest is over one alone gets 0, until it tells how it went."""
        rest, failures = self._read_state()
        if rest > 0 or failures < OPENS_AFTER:
            return max(rest, 0.0)
        with self._store.transaction() as tx:
            turn = provider_circuits.update().where(self._mine, provider_circuits.c.open_until <= db_time())
            first = tx.connection.execute(turn.values(open_until=db_time(TRIAL_S))).rowcount
        return 0.0 if first else self.pause_s()

    def record_success(self) -> None:
        """The provider answered well: everybody may call it."""
        if self._read_state() != (0.0, 0):
            with self._store.transaction() as tx:
                closed = provider_circuits.update().where(self._mine)
                tx.connection.execute(closed.values(failures=0, open_until=None, error=None, updated_at=db_time()))

    def record_failure(self, error: str, *, rest_s: float | None = None) -> float:
        """The provider failed, and wants `rest_s` seconds of rest if it said so; the rest that everybody takes now."""
        with self._store.transaction() as tx:
            dialect = postgresql if tx.dialect == "postgresql" else sqlite
            first = dialect.insert(provider_circuits).values(space=self._space, failures=1, error=error)
            counted = {"failures": provider_circuits.c.failures + 1, "error": error, "updated_at": db_time()}
            statement = first.on_conflict_do_update(index_elements=["space"], set_=counted)
            failures = tx.connection.execute(statement.returning(provider_circuits.c.failures)).scalar_one()
            rest = _pause_after(failures) if rest_s is None else rest_s
            if rest > 0:
                rests = provider_circuits.update().where(self._mine)
                tx.connection.execute(rests.values(open_until=db_time(rest)))
        return rest

    def _read_state(self) -> tuple[float, int]:
        """(seconds until it may be called, negative when over; failures in a row)."""
        query = sa.select(provider_circuits.c.open_until, provider_circuits.c.failures, db_time()).where(self._mine)
        with self._store.read_connection() as connection:
            row = connection.execute(query).first()
        if row is None:
            return 0.0, 0
        open_until, failures, now = row
        return (0.0 if open_until is None else (open_until - now).total_seconds()), failures


def _pause_after(failures: int) -> float:
    over = failures - OPENS_AFTER
    return 0.0 if over < 0 else float(min(FIRST_REST_S * 2.0 ** min(over, 30), LONGEST_REST_S))
