"""Embedding: make memories searchable in batches, compare the index with the store, erase forgotten memories."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import Any
from uuid import UUID

from agentstate.errors import IndexUnavailable
from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.memory.facts.forget import ERASE_KIND
from agentstate.memory.index.verify import Comparison, Cursor, IndexVerifier
from agentstate.runtime import Runtime
from tasks.app import Slice, bulk_task, job_task, slice_task

_log = logging.getLogger(__name__)

KIND = "embedding.embed_pending"
VERIFY = "embedding.verify_index"
SLICE_S = 20.0
"""After this time a comparison goes on in another job."""
SHORT_PAUSE_S = 5.0
"""A pause that is waited for here; a longer one is left to the sweep."""


@bulk_task(KIND)
def embed_pending(runtime: Runtime) -> None:
    """Take batches until none waits; after the deadline leave the rest to the next wake-up."""
    until = time.monotonic() + BULK[KIND].deadline_s

    def is_over() -> bool:
        return runtime.stopping.is_set() or time.monotonic() > until

    while not is_over():
        pause = runtime.embedding.run_until_idle(stop=is_over).pause_s
        if not 0 < pause <= SHORT_PAUSE_S:
            break
        runtime.stopping.wait(pause)
    if runtime.embedding.has_due():
        runtime.jobs.wake_bulk(KIND)


@slice_task(VERIFY, wakes=KIND)
def verify_index(runtime: Runtime, claim: Claim) -> Slice:
    """Compare a sample; when it differs, walk over all rows and then all points, a slice a job."""
    walk, after = claim.payload.walk, claim.payload.after
    verifier = IndexVerifier(runtime.store, runtime.index)
    following: Cursor | None = None
    if walk == "sample":
        found = verifier.compare_sample()
        following = None if found.is_sound else Cursor()
    else:
        found = Comparison()
        until = time.monotonic() + SLICE_S
        for part, reached in verifier.resume(Cursor(walk, after)):
            found.add_counts(part)
            following = reached
            if time.monotonic() > until or runtime.stopping.is_set():
                break
    result = asdict(found)
    if not found.is_sound:
        # Points of memories that are not known here may be another store's: `agentstate index verify` tells more.
        _log.warning("the index differs from the durable store (%s); all but unknown points are repaired", result)
    return Slice(result, None if following is None else asdict(following))


@job_task(ERASE_KIND)
def erase_forgotten(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Remove forgotten memories from the index, and an agent's episodes from Redis; retry unless both answer."""
    ids = [UUID(memory) for memory in claim.payload.memories]
    episodes = 0 if ids else runtime.memory.forgetting.erase_late(claim.payload.tenant)
    erased = runtime.memory.forgetting.erase_points(claim.payload.tenant, ids or None)
    if erased.left is None:
        raise IndexUnavailable(erased.note)
    return {"removed": erased.removed, "left": erased.left, "episodes": episodes}
