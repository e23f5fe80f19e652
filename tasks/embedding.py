"""Embedding: memories that wait become searchable, in batches; what was forgotten leaves the index."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from agentstate.errors import IndexUnavailable
from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.memory.forget import ERASE
from agentstate.runtime import Runtime
from tasks.shell import bulk_task, job_task

KIND = "embedding.embed_pending"
SHORT_REST_S = 5.0
"""A rest that is waited for here; a longer one is left to the sweep."""


@bulk_task(KIND)
def embed_pending(runtime: Runtime) -> None:
    """Take batches until none waits; after the deadline leave the rest to the next wake-up."""
    until = time.monotonic() + BULK[KIND].deadline_s

    def over() -> bool:
        return runtime.stopping.is_set() or time.monotonic() > until

    while not over():
        rest = runtime.embedding.run_until_idle(stop=over).pause_s
        if not 0 < rest <= SHORT_REST_S:
            break
        runtime.stopping.wait(rest)
    if runtime.embedding.has_due():
        runtime.jobs.wake_bulk(KIND)


@job_task(ERASE)
def erase(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Remove the points of what was forgotten; while the index does not answer, again later."""
    ids = [UUID(memory) for memory in claim.payload.memories]
    erased = runtime.memory.forgetting.erase_points(claim.payload.tenant, ids or None)
    if erased.left is None:
        raise IndexUnavailable(erased.note)
    return {"removed": erased.removed, "left": erased.left}
