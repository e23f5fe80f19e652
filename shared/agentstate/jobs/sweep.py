"""The sweep: finds what nobody woke. With it, losing any message or the whole broker is only a delay."""

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
BATCH = 500
"""Most wake-ups one sweep sends."""


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did."""

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
            ended = [job for job in freed if self._end_if_spent(tx, job)]
        with self._store.transaction() as tx:
            lost = self._find_lost(tx)
            wake_ups = [WakeUp(KINDS[job.kind].task_name, job.queue, job.lane, job.id) for job in lost]
            table.mark_woken(tx, [job.id for job in lost])
            tx.after_commit(lambda: self._waker.send_wake_ups(wake_ups))
        return SweepReport(len(freed), len(ended), len(lost))

    def _end_if_spent(self, tx: Transaction, job: Job) -> bool:
        if job.attempts < job.max_attempts:
            return False
        return table.end_unclaimed(tx, job.id, final_status(KINDS[job.kind]), error=job.error)

    def _find_lost(self, tx: Transaction) -> list[Job]:
        """Overdue jobs beyond those that messages still wait for: a long queue is not a lost one."""
        overdue = [
            job for job in table.lock_overdue(tx, unwoken_for_s=self._unwoken_for_s, limit=BATCH) if job.kind in KINDS
        ]
        ready = table.count_due_by_lane(tx) if overdue else {}
        missing = {lane: count - self._waker.count_waiting(*lane) for lane, count in ready.items()}
        lost = []
        for job in overdue:
            lane = (job.queue, job.lane)
            if job.woken_at is None or missing.get(lane, 0) > 0:
                missing[lane] = missing.get(lane, 0) - 1
                lost.append(job)
        return lost
