"""Snapshots: the portfolios of the fleet, a slice at a time."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.runtime import Runtime
from tasks.shell import job_task

SLICE = 50
KIND = "snapshots.take"


@job_task(KIND)
def take_snapshots(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Snapshot a slice and submit the next in the transaction that ends this one, so that no slice is left out."""
    slot, after = claim.payload.slot, claim.payload.after
    taken = runtime.snapshots.take_slice(slot, after=after, limit=SLICE)
    result = {"taken": taken.taken, "known": taken.known}
    with runtime.store.transaction() as tx:
        if taken.next_after is not None:
            rest = {"slot": slot, "after": taken.next_after}
            runtime.jobs.submit(KIND, rest, dedupe_key=f"slot:{slot}:{taken.next_after}", tx=tx)
        claim.finish(tx, result)
    return result
