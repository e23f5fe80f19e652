"""Cache refresh: states at the services, read ahead of need: one that is named, or all that are in use."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.runtime import Runtime
from tasks.shell import bulk_task, job_task
from tasks.slices import repeat_until_done

AHEAD = "cache.refresh_ahead"


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
