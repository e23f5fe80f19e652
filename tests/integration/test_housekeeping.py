"""Housekeeping as jobs: months of the ledger are made ahead, and what is past its time goes, no earlier."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.clock import utc_now
from agentstate.money import Guards
from agentstate.runtime import Runtime
from agentstate.store.partitions import describe_partitions
from agentstate.store.tables.guards import freezes, guard_uses
from tests.stubs.job_handlers import run_job, task_module


@pytest.fixture
def settings_changes(database_url: str) -> dict[str, Any]:
    return {"database_url": database_url}


@pytest.fixture(scope="module")
def tasks() -> Any:
    return task_module("housekeeping")


def done(runtime: Runtime, kind: str, handler: Any) -> dict[str, Any]:
    return run_job(runtime, runtime.jobs.submit(kind), handler)


def test_next_months_table_is_made_again_when_it_is_missing(runtime: Runtime, tasks: Any) -> None:
    expected = 0
    if runtime.store.database.name == "postgresql":
        with runtime.store.transaction() as tx:
            drop = "'DROP TABLE entries_' || to_char(now() + interval '1 month', 'YYYY_MM')"
            tx.connection.exec_driver_sql(f"DO $$ BEGIN EXECUTE {drop}; END $$")
        expected = 1
    assert done(runtime, "housekeeping.months", tasks.create_ledger_partitions) == {"made": expected}
    with runtime.store.read_connection() as connection:
        found = describe_partitions(connection)
    assert found is None or found.next_is_made


def test_uses_and_freezes_stay_as_long_as_any_window_can_reach(runtime: Runtime, tasks: Any) -> None:
    guards = Guards(runtime.store, "ag_1")
    ages = {"old": timedelta(days=370), "young": timedelta(days=360)}
    for service, age in ages.items():
        with guards.use("5", service=service):
            pass
        guards.freeze(service, "a test")
        guards.unfreeze(service)
        guards.freeze("in-force", "a test")
        then = utc_now() - age
        with runtime.store.transaction() as tx:
            mine = guard_uses.c.service == service
            tx.connection.execute(sa.update(guard_uses).where(mine).values(began_at=then, expires_at=then))
            lifted = (freezes.c.service == service) & freezes.c.lifted_at.is_not(None)
            tx.connection.execute(sa.update(freezes).where(lifted).values(lifted_at=then, frozen_at=then))
            old = utc_now() - timedelta(days=900)
            tx.connection.execute(sa.update(freezes).where(freezes.c.lifted_at.is_(None)).values(frozen_at=old))
    removed = done(runtime, "housekeeping.expire", tasks.delete_expired)
    assert (removed["guard_uses"], removed["freezes"], removed["effects"]) == (1, 1, 0)
    with runtime.store.read_connection() as connection:
        assert list(connection.execute(sa.select(guard_uses.c.service)).scalars()) == ["young"]
        assert sorted(connection.execute(sa.select(freezes.c.service)).scalars()) == ["in-force", "young"]
