"""The circuit breaker of an embedding provider, shared by all workers of all machines.

A provider that fails again and again, asks for a pause, or refuses everything is not called by any worker for a while.
After the pause one process tries; if that succeeds, all go on.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.store import Store
from agentstate.store.tables import provider_circuits
from agentstate.store.tables.base import db_time, statement_time

OPENS_AFTER = 5
"""Failures in a row, over all workers, that open the circuit."""
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
PROBE_S = 30.0
"""How long the others wait for the process that tries."""


class ProviderCircuit:
    """The circuit of one vector space's provider. Safe to share between threads."""

    def __init__(self, store: Store, space: str) -> None:
        self._store = store
        self._space = space
        self._mine = provider_circuits.c.space == space

    def pause_s(self) -> float:
        """Return the seconds until the provider may be called, 0 when it may now; admits no probe."""
        return max(self._read_state()[0], 0.0)

    def admit_call(self) -> float:
        """Return the seconds to wait. After the pause, admit exactly one probe (half-open) until it reports."""
        pause, failures = self._read_state()
        if pause > 0 or failures < OPENS_AFTER:
            return max(pause, 0.0)
        with self._store.transaction() as tx:
            turn = provider_circuits.update().where(self._mine, provider_circuits.c.open_until <= statement_time())
            first = tx.connection.execute(turn.values(open_until=db_time(PROBE_S))).rowcount
        return 0.0 if first else self.pause_s()

    def record_success(self) -> None:
        """Close the circuit: the provider answered."""
        if self._read_state() != (0.0, 0):
            with self._store.transaction() as tx:
                closed = provider_circuits.update().where(self._mine)
                tx.connection.execute(closed.values(failures=0, open_until=None, error=None, updated_at=db_time()))

    def record_failure(self, error: str, *, pause_s: float | None = None) -> float:
        """Count a failure; return the pause that all workers take now.

        Args:
            error: the cause, kept for operators.
            pause_s: seconds, if the provider asked for a pause.
        """
        with self._store.transaction() as tx:
            first = tx.database.insert_into(provider_circuits).values(space=self._space, failures=1, error=error)
            counted = {"failures": provider_circuits.c.failures + 1, "error": error, "updated_at": db_time()}
            statement = first.on_conflict_do_update(index_elements=["space"], set_=counted)
            failures = tx.connection.execute(statement.returning(provider_circuits.c.failures)).scalar_one()
            doublings = min(failures - OPENS_AFTER, 30)
            pause = 0.0 if doublings < 0 else min(FIRST_PAUSE_S * 2.0**doublings, LONGEST_PAUSE_S)
            pause = pause if pause_s is None else pause_s
            if pause > 0:
                paused = provider_circuits.update().where(self._mine)
                tx.connection.execute(paused.values(open_until=db_time(pause)))
        return pause

    def _read_state(self) -> tuple[float, int]:
        """Return (seconds until it may be called, negative when over; failures in a row)."""
        query = sa.select(provider_circuits.c.open_until, provider_circuits.c.failures, db_time()).where(self._mine)
        with self._store.read_connection() as connection:
            row = connection.execute(query).first()
        if row is None:
            return 0.0, 0
        open_until, failures, now = row
        return (0.0 if open_until is None else (open_until - now).total_seconds()), failures
