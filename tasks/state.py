"""Versioned state: stored states are brought to the newest schema, a slice at a time."""

from __future__ import annotations

from typing import Any

from agentstate.jobs import Claim
from agentstate.runtime import Runtime
from agentstate.state.stored import migrate_slice
from tasks.shell import job_task

SLICE = 200
KIND = "state.migrate_stored"


@job_task(KIND)
def migrate_stored(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Migrate a slice and submit the next in the transaction that ends this one, so that no slice is left out."""
    slot, after = claim.payload.slot, claim.payload.after
    done = migrate_slice(runtime.store, after=after, limit=SLICE)
    result = {"migrated": done.migrated, "refused": done.refused}
    with runtime.store.transaction() as tx:
        if done.next_after is not None:
            rest = {"slot": slot, "after": done.next_after}
            runtime.jobs.submit(KIND, rest, dedupe_key=f"slot:{slot}:{done.next_after}", tx=tx)
        claim.finish(tx, result)
    return result
