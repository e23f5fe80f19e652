"""The sweep of jobs with a lost wake-up: losing messages or the whole broker only delays work."""

from __future__ import annotations

from dataclasses import dataclass

from agentstate.jobs import table
from agentstate.jobs.job import Job
from agentstate.jobs.kinds import KINDS
from agentstate.jobs.runner import final_status
from agentstate.jobs.wake_ups import WakeUp, WakeUpSender
from agentstate.store.store import Store, Transaction

UNWOKEN_FOR_S = 10.0
"""A due job without a wake-up for this long is looked at again."""
LANE_BATCH = 200
"""Wake-ups of each sort that one sweep sends to a lane at most."""


@dataclass(frozen=True)
class SweepReport:
    """The counts of one sweep."""

    released: int
    """Jobs whose worker was lost, given back."""
    ended: int
    """Of these, jobs that had used up their attempts."""
    woken: int
    """Wake-ups sent."""


class JobSweeper:
    """Frees expired leases and sends lost or delayed wake-ups."""

    def __init__(self, store: Store, waker: WakeUpSender, *, unwoken_for_s: float = UNWOKEN_FOR_S) -> None:
        self._store = store
        self._waker = waker
        self._unwoken_for_s = unwoken_for_s

    def sweep_once(self) -> SweepReport:
        """Sweep once; safe to run anywhere, at any time, by many at once."""
        with self._store.transaction() as tx:
            freed = table.release_expired(tx)
            spent = [job for job in freed if job.attempts >= job.max_attempts]
            ended = sum(
                table.end_unclaimed(tx, job.id, final_status(KINDS[job.kind]), error=job.error) for job in spent
            )
        with self._store.transaction() as tx:
            lost = self._find_lost(tx)
            wake_ups = [WakeUp(KINDS[job.kind].task_name, job.queue, job.lane, job.id) for job in lost]
            table.mark_woken(tx, [job.id for job in lost])
            tx.after_commit(lambda: self._waker.send_wake_ups(wake_ups))
        return SweepReport(len(freed), ended, len(lost))

    def _find_lost(self, tx: Transaction) -> list[Job]:
        """Due jobs that no message waits for: all that none was sent for, and others as far as messages are missing.

        Lane by lane: a long queue is not a lost one, and the jobs of one lane do not hide those of another.
        """
        lost: list[Job] = []
        for (queue, lane), count in table.count_due_by_lane(tx).items():
            never = table.lock_unwoken(tx, queue, lane, KINDS, limit=LANE_BATCH)
            missing = min(count - len(never) - self._waker.count_waiting(queue, lane), LANE_BATCH)
            lost += never
            if missing > 0:
                lost += table.lock_unwoken(tx, queue, lane, KINDS, limit=missing, woken_before_s=self._unwoken_for_s)
        return lost
