"""Holding a claimed batch for as long as it is worked on: a short lease that its holder renews.

A worker that is killed stops renewing, so that another one takes its batch within seconds; one that is merely slow
keeps it. A worker that hangs loses it in the end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agentstate.errors import StoreUnavailable
from agentstate.memory.embedding.queue import ClaimedBatch, EmbeddingBacklog

LEASE_S = 15.0
"""After this time without a sign of its holder a batch is taken over."""

_log = logging.getLogger(__name__)


@contextmanager
def hold_lease(
    backlog: EmbeddingBacklog,
    batch: ClaimedBatch,
    *,
    at_most_s: float,
    lease_s: float = LEASE_S,
    every_s: float = LEASE_S / 3,
) -> Iterator[None]:
    """Renew the lease of `batch` every `every_s` seconds while the block runs, for `at_most_s` seconds in all."""
    done = threading.Event()
    until = time.monotonic() + at_most_s

    def renew() -> None:
        while not done.wait(every_s) and time.monotonic() < until:
            try:
                backlog.renew_lease(batch, lease_s=lease_s)
            except StoreUnavailable as error:
                _log.warning("a batch of %d memories may be taken over: %s", len(batch.memories), error)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
