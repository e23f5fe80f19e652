"""Embedding: memories become searchable, in batches; the index is compared with the truth; the forgotten leaves it."""

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
from agentstate.memory.index.verify import Comparison, IndexVerifier
from agentstate.runtime import Runtime
from tasks.shell import bulk_task, job_task

_log = logging.getLogger(__name__)

KIND = "embedding.embed_pending"
VERIFY = "embedding.verify_index"
SLICE_S = 20.0
"""After this time a comparison goes on in another job."""
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


@job_task(VERIFY)
def verify_index(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Compare a sample; when it differs, walk over all rows and then all points, a slice a job."""
    slot, walk, after = claim.payload.slot, claim.payload.walk, claim.payload.after
    verifier = IndexVerifier(runtime.store, runtime.index)
    if walk == "sample":
        found = verifier.compare_sample()
        following = None if found.is_sound else ("rows", "0")
    else:
        found, following = _walk(runtime, verifier, walk, after)
    result = asdict(found)
    if not found.is_sound:
        # Points of memories that are not known here may be another store's: `agentstate index verify` tells more.
        _log.warning("the index differs from the durable store (%s); all but unknown points are repaired", result)
    with runtime.store.transaction() as tx:
        if following is not None:
            rest = {"slot": slot, "walk": following[0], "after": following[1]}
            runtime.jobs.submit(VERIFY, rest, dedupe_key=f"slot:{slot}:{following[0]}:{following[1]}", tx=tx)
        runtime.jobs.wake_bulk(KIND, tx=tx)
        claim.finish(tx, result)
    return result


def _walk(
    runtime: Runtime, verifier: IndexVerifier, walk: str, after: str
) -> tuple[Comparison, tuple[str, str] | None]:
    found, following = Comparison(), (walk, after)
    until = time.monotonic() + SLICE_S
    while time.monotonic() < until and not runtime.stopping.is_set():
        part, further = _walked(verifier, *following)
        found.add_counts(part)
        if further is None:
            return found, None
        following = further
    return found, following


def _walked(verifier: IndexVerifier, walk: str, after: str) -> tuple[Comparison, tuple[str, str] | None]:
    if walk == "rows":
        found, row = verifier.compare_rows(int(after), repair=True)
        return found, ("points", "") if row is None else ("rows", str(row))
    found, point = verifier.compare_points(after, repair=True)
    return found, None if point is None else ("points", point)


@job_task(ERASE_KIND)
def erase(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Remove what was forgotten from the index, and an agent's episodes from Redis; unless both answer, again later."""
    ids = [UUID(memory) for memory in claim.payload.memories]
    episodes = 0 if ids else runtime.memory.forgetting.erase_late(claim.payload.tenant)
    erased = runtime.memory.forgetting.erase_points(claim.payload.tenant, ids or None)
    if erased.left is None:
        raise IndexUnavailable(erased.note)
    return {"removed": erased.removed, "left": erased.left, "episodes": episodes}
