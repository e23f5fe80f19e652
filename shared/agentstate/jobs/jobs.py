"""Submission, reading and administration of jobs, and the jobs of schedules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentstate.errors import InvalidInput, JobDead, KeyReused, NotFound, TooLarge, WaitTimeout
from agentstate.ids import new_id, validate_name
from agentstate.jobs import table
from agentstate.jobs.job import Job, JobStatus
from agentstate.jobs.kinds import KINDS, parse_payload, spec_of
from agentstate.jobs.spec import JobSpec
from agentstate.jobs.wake_ups import WakeUp, WakeUpSender, lane_of
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.store import Store, Transaction

MAX_KEY = 200
"""Longest dedupe or coalesce key, in characters."""
_MAX_REASON = 2_000
_SUBMIT_TRIES = 5
_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5


class Jobs:
    """Submission and administration of jobs, of the whole fleet."""

    def __init__(self, store: Store, waker: WakeUpSender, settings: Settings) -> None:
        self._store = store
        self._waker = waker
        self._settings = settings

    def submit(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        agent_id: str | None = None,
        dedupe_key: str | None = None,
        coalesce_key: str | None = None,
        due_in: float = 0.0,
        tx: Transaction | None = None,
    ) -> UUID:
        """Write a job and wake a worker once it is committed; return its id.

        Args:
            kind: a name from `agentstate.jobs.kinds.KINDS`.
            payload: as the kind declares it.
            agent_id: whose job it is.
            dedupe_key: names this very request: submitted again, it gives the first job's id, whatever became of it.
            coalesce_key: names the work: while a job with it waits, another one is not needed and its id is returned.
            due_in: seconds to wait before it may run.
            tx: the caller's transaction; the job exists exactly if that commits.

        Raises:
            InvalidInput: an unknown kind, a wrong payload or key; TooLarge: over `max_payload_bytes`.
            KeyReused: the dedupe key was used with another payload.
        """
        spec = spec_of(kind)
        values = self._new_row(spec, payload or {}, agent_id, dedupe_key, coalesce_key)
        with self._store.transaction(tx) as open_tx:
            job_id: UUID = values["id"]
            for _ in range(_SUBMIT_TRIES):
                if table.insert_job(open_tx, values, due_in=due_in):
                    if due_in <= 0:
                        self._wake_workers(open_tx, [WakeUp(spec.task_name, spec.queue, values["lane"], job_id)])
                    return job_id
                existing = table.find_duplicate(open_tx, values)
                if existing is not None:
                    same = existing.payload == codec.loads(codec.dumps(values["payload"]))
                    if values["dedupe_key"] is not None and existing.dedupe_key == values["dedupe_key"] and not same:
                        raise KeyReused(
                            f"the dedupe key {existing.dedupe_key!r} belongs to job {existing.id} with another "
                            "payload; use a new key for a new job. Nothing was stored."
                        )
                    return existing.id
            raise WaitTimeout(f"the coalesce key {values['coalesce_key']!r} changes hands too fast; submit again.")

    def wake_bulk(self, kind: str, tx: Transaction | None = None) -> None:
        """Wake bulk work: after `tx` commits when given, else now."""
        if tx is None:
            self._waker.send_bulk_wake_up(kind)
        else:
            tx.after_commit(lambda: self._waker.send_bulk_wake_up(kind))

    def get(self, job_id: UUID | str) -> Job:
        """Return one job; raises NotFound."""
        try:
            wanted = job_id if isinstance(job_id, UUID) else UUID(job_id)
        except ValueError:
            raise InvalidInput(f"{str(job_id)[:60]!r} is not a job's id; `agentstate jobs list` shows them.") from None
        with self._store.read_connection() as connection:
            found = table.load_job(connection, wanted)
        if found is None:
            raise NotFound(
                f"there is no job {job_id}; finished jobs are kept for {self._settings.jobs_kept_s} seconds."
            )
        return found

    def wait(self, job_id: UUID | str, *, timeout_s: float = 30.0) -> Job:
        """Return the job once it has ended well.

        Raises:
            JobDead: it ended badly; the text tells why. WaitTimeout: it has not ended after `timeout_s` seconds.
        """
        deadline, pause = time.monotonic() + timeout_s, _FIRST_POLL_S
        while not (job := self.get(job_id)).is_ended:
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"job {job_id} is {job.status} after {timeout_s:g} seconds; it goes on.")
            time.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)
        if job.status is not JobStatus.DONE:
            raise JobDead(f"job {job_id} ({job.kind}) is {job.status}: {job.error}")
        return job

    def list(
        self, *, status: str | None = None, kind: str | None = None, agent_id: str | None = None, limit: int = 50
    ) -> list[Job]:
        """The newest jobs that match, at most `limit`."""
        try:
            wanted = None if status is None else JobStatus(status)
        except ValueError:
            raise InvalidInput(f"{status!r} is not a status; there are {', '.join(JobStatus)}.") from None
        with self._store.read_connection() as connection:
            return table.find_jobs(connection, status=wanted, kind=kind, agent_id=agent_id, limit=limit)

    def counts(self) -> dict[str, dict[str, int]]:
        """Jobs by queue and status."""
        with self._store.read_connection() as connection:
            found = table.count_jobs(connection)
        by_queue: dict[str, dict[str, int]] = {}
        for queue, status, count in found:
            by_queue.setdefault(queue, {})[status] = count
        return by_queue

    def requeue(self, job_id: UUID | str) -> Job:
        """Make a dead or discarded job ready again with a fresh budget of attempts."""
        job = self.get(job_id)
        with self._store.transaction() as tx:
            if not table.requeue_job(tx, job.id):
                raise InvalidInput(f"job {job.id} is {job.status}; only dead or discarded jobs can be requeued.")
            self._wake_workers(tx, [WakeUp(KINDS[job.kind].task_name, job.queue, job.lane, job.id)])
        return self.get(job.id)

    def discard(self, job_id: UUID | str, reason: str) -> Job:
        """Give up a dead or waiting job for good, with a reason that is kept."""
        job = self.get(job_id)
        with self._store.transaction() as tx:
            if not table.end_unclaimed(tx, job.id, JobStatus.DISCARDED, error=reason):
                raise InvalidInput(f"job {job.id} is {job.status}; only dead or waiting jobs can be discarded.")
        return self.get(job.id)

    def requeue_dead(self, kind: str | None = None) -> int:
        """Make all dead jobs, or those of one kind, ready again; the sweep wakes workers for them. Tells how many."""
        with self._store.transaction() as tx:
            return table.requeue_dead(tx, kind)

    def discard_dead(self, reason: str, kind: str | None = None) -> int:
        """Give up all dead jobs, or those of one kind, with a reason kept beside their cause. Tells how many."""
        with self._store.transaction() as tx:
            return table.discard_dead(tx, kind, reason=reason)

    def keep_refused(self, submission: dict[str, str | None], reason: str) -> UUID:
        """Store a submission that cannot become a job as a dead job with `reason`; return its id."""
        spec = spec_of("jobs.refused")
        values = self._new_row(spec, submission, None, None, None)
        with self._store.transaction() as tx:
            table.insert_job(tx, values, due_in=0.0)
            table.end_unclaimed(tx, values["id"], JobStatus.DEAD, error=codec.storable_text(reason, _MAX_REASON))
        job_id: UUID = values["id"]
        return job_id

    def _new_row(
        self,
        spec: JobSpec,
        payload: dict[str, Any],
        agent_id: str | None,
        dedupe_key: str | None,
        coalesce_key: str | None,
    ) -> dict[str, Any]:
        parse_payload(spec, payload)
        size, limit = len(codec.dumps(payload).encode()), self._settings.max_payload_bytes
        if size > limit:
            raise TooLarge(
                f"the payload of {spec.kind} has {size} bytes, allowed are {limit}; store the data and send its id."
            )
        if agent_id is None and spec.per_agent:
            raise InvalidInput(f"a job of kind {spec.kind} belongs to an agent; give its agent_id. Nothing was stored.")
        return {
            "id": new_id(),
            "kind": spec.kind,
            "queue": spec.queue,
            "lane": lane_of(agent_id, self._settings.lanes),
            "agent_id": None if agent_id is None else validate_name(agent_id),
            "payload": payload,
            "dedupe_key": _check_key(dedupe_key, "dedupe key"),
            "coalesce_key": _check_key(coalesce_key, "coalesce key"),
            "max_attempts": spec.retry.max_attempts,
        }

    def _wake_workers(self, tx: Transaction, wake_ups: Sequence[WakeUp]) -> None:
        tx.after_commit(lambda: self._waker.send_wake_ups(wake_ups))


def _check_key(key: str | None, what: str) -> str | None:
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise InvalidInput(f"a {what} has 1 to {MAX_KEY} characters, this one {len(key)}. Nothing was stored.")
    return key


def slot_start(moment: datetime, period_s: int) -> datetime:
    """Return the begin of the period of `period_s` seconds that `moment` is in, counted from the Unix epoch."""
    return datetime.fromtimestamp(int(moment.timestamp()) // period_s * period_s, UTC)


def submit_for_slot(store: Store, jobs: Jobs, kind: str, period_s: int) -> UUID:
    """Submit the job of `kind` for the slot of the store's clock; a second firing gives the same job.

    Time is cut into periods, and each period gives one job, however many schedulers fire it. Missed slots are not made
    up for: the first firing after an outage submits the present slot's job alone.
    """
    with store.transaction() as tx:
        slot = slot_start(tx.now(), period_s).isoformat()
        takes_slot = "slot" in KINDS[kind].payload.__struct_fields__
        return jobs.submit(kind, {"slot": slot} if takes_slot else {}, dedupe_key=f"slot:{slot}", tx=tx)
