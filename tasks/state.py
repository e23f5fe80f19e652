"""Versioned state: stored states are brought to the newest schema, a slice at a time."""

from __future__ import annotations

from agentstate.jobs import Claim
from agentstate.runtime import Runtime
from agentstate.state.agent_db import migrate_slice
from tasks.shell import Slice, slice_task

SLICE = 200
KIND = "state.migrate_stored"


@slice_task(KIND)
def migrate_stored(runtime: Runtime, claim: Claim) -> Slice:
    """Migrate a slice of the stored states to the newest schema."""
    done = migrate_slice(runtime.store, after=claim.payload.after, limit=SLICE)
    following = None if done.next_after is None else {"after": done.next_after}
    return Slice({"migrated": done.migrated, "refused": done.refused}, following)
