"""Embedding: memories that wait become searchable, in batches."""

from __future__ import annotations

import time

from agentstate.jobs.kinds import BULK
from agentstate.runtime import Runtime
from tasks.shell import bulk_task

KIND = "embedding.embed_pending"


@bulk_task(KIND)
def embed_pending(runtime: Runtime) -> None:
    """Take batches until none waits; after the deadline leave the rest to the next wake-up."""
    until = time.monotonic() + BULK[KIND].deadline_s
    runtime.embedding.run_until_idle(stop=lambda: runtime.stopping.is_set() or time.monotonic() > until)
    if runtime.embedding.has_due():
        runtime.jobs.wake_bulk(KIND)
