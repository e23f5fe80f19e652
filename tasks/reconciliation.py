"""Reconciliation of the books with the services."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.runtime import Runtime
from tasks.shell import bulk_task, job_task
from tasks.slices import repeat_until_done

DUE = "reconciliation.reconcile_due"


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
