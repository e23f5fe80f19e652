"""Cache refresh: one agent's state at one service, read ahead of need."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.runtime import Runtime
from tasks.shell import job_task


@job_task("cache.refresh")
def refresh(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Ask the service and keep the answer; a service that does not answer leaves the state unknown, not zero."""
    entry = runtime.cache.refresh(claim.job.agent_id or "", claim.payload.service)
    return {"quality": entry.quality.value, "as_of": entry.as_of, "reason": entry.reason}
