"""Running one job: claim, handle, finish or try again. Celery's tasks are shells over this."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from agentstate.errors import (
    AgentStateError,
    ConfigurationError,
    Conflict,
    Fenced,
    InvalidInput,
    NotFound,
    ProviderRateLimited,
    ProviderRefused,
    SchemaOutdated,
)
from agentstate.jobs import table
from agentstate.jobs.job import Job, JobStatus
from agentstate.jobs.kinds import parse_payload, spec_of
from agentstate.jobs.leases import LEASE_MARGIN_S, LeaseRenewer
from agentstate.jobs.spec import JobSpec, LastAction
from agentstate.state import codec
from agentstate.store.store import Store, Transaction

_log = logging.getLogger(__name__)

_HOPELESS = (InvalidInput, NotFound, ProviderRefused, ConfigurationError, Conflict)
_MAX_ERROR = 2_000


class Postpone(AgentStateError):
    """There is nothing to do yet; the job is tried again later, without counting the attempt.

    Args:
        delay_s: seconds until the next try.
    """

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


class Outcome(StrEnum):
    """The result of handling one wake-up."""

    NOTHING = "nothing"
    """No such job is ready: it is held, ended, or not due. Duplicate messages end here."""
    DONE = "done"
    RETRY = "retry"
    ENDED = "ended"
    """It will not be tried again."""
    FENCED = "fenced"
    """Another worker took it over meanwhile."""


class Claim:
    """A job that this worker holds."""

    def __init__(self, job: Job, payload: Any) -> None:
        self.job = job
        self.payload = payload
        self.finished = False

    def finish(self, tx: Transaction, result: Any = None) -> None:
        """End the job in the caller's transaction, so that it is done exactly if its changes are committed.

        Raises:
            Fenced: the lease ran out and another worker has the job; the transaction must roll back.
        """
        if not table.end_job(tx, self.job, JobStatus.DONE, result=_storable(result)):
            raise Fenced(f"job {self.job.id} was taken over by another worker; this result is not applied.")
        self.finished = True


Handler: TypeAlias = Callable[[Claim], Any]
"""Does a job's work and returns its result, which must be JSON of ours or nothing."""


class JobRunner:
    """Runs jobs for one worker process; `leases` is the process's own keeper of leases."""

    def __init__(
        self,
        store: Store,
        *,
        leases: LeaseRenewer | None = None,
        owner: str | None = None,
        draw: random.Random | None = None,
    ) -> None:
        self._store = store
        self._leases = leases or LeaseRenewer(store)
        self._owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._draw = draw or random.Random()  # noqa: S311 jitter is no secret

    def run_job(self, job_id: UUID, spec: JobSpec, handler: Handler) -> Outcome:
        """Take the job if it is ready and due, let `handler` do it, and write down how it ended."""
        owner = f"{self._owner}:{threading.get_ident()}"
        with self._store.transaction() as tx:
            job = table.claim_job(tx, job_id, owner=owner[:128], lease_s=self._leases.lease_s)
        if job is None:
            return Outcome.NOTHING
        # Only here: a process that submits jobs and runs none does without its logging.
        from structlog.contextvars import bound_contextvars

        about = bound_contextvars(job=str(job.id), kind=job.kind, agent=job.agent_id, attempt=job.attempts)
        with about, self._leases.hold_lease(job, for_s=spec.deadline_s + LEASE_MARGIN_S - self._leases.lease_s):
            try:
                claim = Claim(job, parse_payload(spec_of(job.kind), job.payload))
                result = handler(claim)
                if not claim.finished:
                    with self._store.transaction() as tx:
                        claim.finish(tx, result)
            except Fenced:
                _log.warning("fenced: the late result is not applied")
                return Outcome.FENCED
            except Postpone as error:
                with self._store.transaction() as tx:
                    held = table.postpone_job(tx, job, delay_s=error.delay_s, error=error.message, count_attempt=False)
                return Outcome.RETRY if held else Outcome.FENCED
            except Exception as error:  # noqa: BLE001 it decides about the job, not about the worker
                reason = codec.storable_text(f"{type(error).__name__}: {error}", _MAX_ERROR)
                _log.warning("failed: %s", reason)
                with self._store.transaction() as tx:
                    # Another schema revision is not hopeless: a worker of that version may take the job.
                    if isinstance(error, _HOPELESS) and not isinstance(error, SchemaOutdated):
                        held, outcome = table.end_job(tx, job, JobStatus.DEAD, error=reason), Outcome.ENDED
                    elif job.attempts >= job.max_attempts:
                        held, outcome = table.end_job(tx, job, final_status(spec), error=reason), Outcome.ENDED
                    else:
                        delay = spec.retry.draw_delay(job.attempts, self._draw)
                        if isinstance(error, ProviderRateLimited) and error.retry_after is not None:
                            delay = max(delay, error.retry_after)
                        held = table.postpone_job(tx, job, delay_s=delay, error=reason, count_attempt=True)
                        outcome = Outcome.RETRY
                return outcome if held else Outcome.FENCED
            return Outcome.DONE


def final_status(spec: JobSpec) -> JobStatus:
    """The status of a job of this kind that has used up its attempts."""
    return JobStatus.DISCARDED if spec.last_action is LastAction.DISCARD else JobStatus.DEAD


def _storable(result: Any) -> Any:
    # An answer that cannot be written must not turn a success into a failure.
    try:
        return codec.loads(codec.dumps(result))
    except InvalidInput:
        return {"repr": repr(result)[:_MAX_ERROR]}
