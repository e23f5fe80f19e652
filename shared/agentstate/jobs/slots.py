"""Schedules by slots: time is cut into periods, and each period gives one job, however many schedulers fire it.

Missed slots are not made up for: the first firing after an outage submits the present slot's job alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from agentstate.jobs.jobs import Jobs
from agentstate.jobs.kinds import KINDS
from agentstate.store.store import Store


def slot_start(moment: datetime, period_s: int) -> datetime:
    """The begin of the period of `period_s` seconds that `moment` is in, counted from the Unix epoch."""
    return datetime.fromtimestamp(int(moment.timestamp()) // period_s * period_s, UTC)


def submit_for_slot(store: Store, jobs: Jobs, kind: str, period_s: int) -> UUID:
    """Submit the job of `kind` for the slot of the store's clock; a second firing gives the same job."""
    with store.transaction() as tx:
        slot = slot_start(tx.now(), period_s).isoformat()
        takes_slot = "slot" in KINDS[kind].payload.__struct_fields__
        return jobs.submit(kind, {"slot": slot} if takes_slot else {}, dedupe_key=f"slot:{slot}", tx=tx)
