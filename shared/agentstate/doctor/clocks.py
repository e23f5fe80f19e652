"""Checks of clocks: leases use the database's, limits that of Redis, logs and cached states this machine's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from agentstate.doctor.finding import Finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.store.tables.base import db_time

MOST_S = 1.0
"""Largest difference that is ok, in seconds."""

_REMEDY = "Synchronise both machines with a time server (NTP); until then times in logs and reports disagree."


def check_database_clock(system: System) -> Finding:
    """Compare this machine's clock with the database's."""

    def read() -> datetime:
        with system.connect_store() as connection:
            moment: datetime = connection.execute(sa.select(db_time())).scalar_one()
            return moment

    read()  # the first answer pays for the connection
    return _compare_clocks(system, read)


def check_redis_clock(system: System) -> Finding:
    """Compare this machine's clock with that of Redis."""
    with system.connect_redis(system.settings.redis_url) as client:

        def read() -> datetime:
            seconds, microseconds = client.time()
            return datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)

        read()
        return _compare_clocks(system, read)


def _compare_clocks(system: System, read: Callable[[], datetime]) -> Finding:
    before = system.clock()
    there = read()
    after = system.clock()
    # The answer was made at some time between; only what exceeds that uncertainty is a difference.
    behind, ahead = (before - there).total_seconds(), (there - after).total_seconds()
    difference = max(behind, ahead, 0.0)
    if difference > MOST_S:
        return warn_finding(f"{difference:.1f} s {'behind' if behind > 0 else 'ahead of'} this machine", _REMEDY)
    return ok_finding(f"within {max(difference, 0.1):.1f} s of this machine")
