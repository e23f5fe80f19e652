"""Leases of running jobs: short, and lengthened while their worker lives.

The idea: how long a lost worker's job waits must not depend on how long the job may take. So a lease is short, and one
thread of the worker's process lengthens those of all jobs that it runs, until a job is past its deadline.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agentstate.errors import AgentStateError
from agentstate.jobs import table
from agentstate.jobs.job import Job
from agentstate.store.store import Store

_log = logging.getLogger(__name__)

LEASE_S = 20.0
"""How long a job is held without a word of its worker; a lost worker's job is taken up again soon after."""
RENEW_EVERY_S = 5.0
"""Three renewals may fail before a lease ends under a worker that lives."""
LEASE_MARGIN_S = 15.0
"""How much longer than its deadline a job is held before another worker may take it."""


class LeaseRenewer:
    """Lengthens the leases of the jobs that this process runs.

    Its thread begins with the first job and ends when there was none for a while, so a process that is idle, or that
    forks, has none.
    """

    def __init__(self, store: Store, *, lease_s: float = LEASE_S, every_s: float = RENEW_EVERY_S) -> None:
        self.lease_s = lease_s
        self._store = store
        self._every_s = every_s
        self._guard = threading.Lock()
        self._held: dict[int, tuple[Job, float]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """End the thread; the leases that are held run out."""
        self._closed.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join()

    @contextmanager
    def hold_lease(self, job: Job, *, for_s: float) -> Iterator[None]:
        """Lengthen the lease of `job` within the block, for `for_s` seconds at most."""
        mark = id(job)
        with self._guard:
            self._held[mark] = (job, time.monotonic() + for_s)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._renew_periodically, name="leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._guard:
                self._held.pop(mark, None)

    def _renew_periodically(self) -> None:
        while not self._closed.wait(self._every_s):
            with self._guard:
                if not self._held:
                    self._thread = None
                    return
                held = [job for job, until in self._held.values() if until > time.monotonic()]
            if not held:
                continue
            try:
                with self._store.transaction() as tx:
                    table.renew_leases(tx, held, lease_s=self.lease_s)
            except AgentStateError as error:
                _log.warning("could not renew the leases of %d jobs, will retry: %s", len(held), error)
