"""Jobs that read the services: reconciliation of the books, portfolio snapshots, and refreshes of the state cache."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.runtime import Runtime
from tasks.app import Slice, bulk_task, job_task, repeat_until_done, slice_task

DUE = "reconciliation.reconcile_due"
AHEAD = "cache.refresh_ahead"
SNAPSHOT_SLICE = 50
SNAPSHOTS = "snapshots.take"


@job_task("reconciliation.reconcile")
def reconcile_account(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Compare one agent's books with one service now."""
    finding = runtime.reconciler.reconcile(claim.job.agent_id or "", claim.payload.service)
    return {
        "status": finding.status,
        "expected": str(finding.expected),
        "observed": None if finding.observed is None else str(finding.observed),
    }


@bulk_task(DUE)
def reconcile_due(runtime: Runtime) -> None:
    """Compare the accounts that are due."""
    repeat_until_done(runtime, BULK[DUE].deadline_s, lambda: len(runtime.reconciler.reconcile_due(limit=5)))


@slice_task(SNAPSHOTS)
def take_snapshots(runtime: Runtime, claim: Claim) -> Slice:
    """Snapshot a slice of the fleet."""
    taken = runtime.snapshots.take_slice(claim.payload.slot, after=claim.payload.after, limit=SNAPSHOT_SLICE)
    following = None if taken.next_after is None else {"after": taken.next_after}
    return Slice({"taken": taken.taken, "known": taken.known}, following)


@job_task("cache.refresh")
def refresh_account(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Ask the service and keep the answer; a service that does not answer leaves the state unknown, not zero."""
    entry = runtime.cache.refresh(claim.job.agent_id or "", claim.payload.service)
    return {"quality": entry.quality.value, "as_of": entry.as_of, "reason": entry.reason}


@bulk_task(AHEAD)
def refresh_ahead(runtime: Runtime) -> None:
    """Refresh the states in use before they expire; do nothing without a gateway."""
    if runtime.gateway_if_any is not None:
        repeat_until_done(runtime, BULK[AHEAD].deadline_s / 2, runtime.cache.refresh_due)
