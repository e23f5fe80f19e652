"""Snapshots: the portfolios of the fleet, a slice at a time."""

from __future__ import annotations

from agentstate.jobs import Claim
from agentstate.runtime import Runtime
from tasks.shell import Slice, slice_task

SLICE = 50
KIND = "snapshots.take"


@slice_task(KIND)
def take_snapshots(runtime: Runtime, claim: Claim) -> Slice:
    """Snapshot a slice of the fleet."""
    taken = runtime.snapshots.take_slice(claim.payload.slot, after=claim.payload.after, limit=SLICE)
    following = None if taken.next_after is None else {"after": taken.next_after}
    return Slice({"taken": taken.taken, "known": taken.known}, following)
