"""The SQL over the table of jobs. Each function is one statement or two, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.jobs.job import Job, JobStatus
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.jobs import jobs

# Written out, not bound: only so does a kept plan see that the index of open jobs has all of these rows.
_IS_READY = jobs.c.status == sa.literal_column("'ready'")
_ENDING = {"lease_owner": None, "lease_until": None, "finished_at": db_time()}


def insert_job(tx: Transaction, values: dict[str, Any], *, due_in: float) -> bool:
    """Insert a job unless its dedupe or coalesce key is taken; tell whether it was inserted."""
    waking = {"woken_at": db_time()} if due_in <= 0 else {}
    times = {"due_at": db_time(max(due_in, 0.0)), "created_at": db_time()}
    statement = tx.database.insert_ignoring_conflicts(jobs).values(**values, **waking, **times)
    inserted = tx.connection.execute(statement)
    return inserted.scalar_one_or_none() is not None


def find_duplicate(tx: Transaction, values: dict[str, Any]) -> Job | None:
    """The job that holds the dedupe key of `values`, else the waiting one that holds its coalesce key."""
    same = [jobs.c.kind == values["kind"]]
    by_dedupe = sa.and_(
        *same,
        jobs.c.dedupe_key == values["dedupe_key"],
        sa.func.coalesce(jobs.c.agent_id, "") == (values["agent_id"] or ""),
    )
    by_coalesce = sa.and_(*same, jobs.c.coalesce_key == values["coalesce_key"], jobs.c.status == JobStatus.READY)
    # Without a dedupe key there is none to hold; asked for, "none" would be every job's.
    for condition in (by_coalesce,) if values["dedupe_key"] is None else (by_dedupe, by_coalesce):
        found = tx.connection.execute(sa.select(jobs).where(condition)).mappings().first()
        if found is not None:
            return Job.from_row(found)
    return None


def load_job(connection: Connection, job_id: UUID) -> Job | None:
    """One job, None when there is none."""
    found = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().first()
    return None if found is None else Job.from_row(found)


def find_jobs(
    connection: Connection,
    *,
    status: JobStatus | None,
    kind: str | None,
    agent_id: str | None,
    limit: int,
) -> list[Job]:
    """The newest jobs that match."""
    wanted = {"status": status, "kind": kind, "agent_id": agent_id}
    query = sa.select(jobs).where(*[jobs.c[name] == value for name, value in wanted.items() if value is not None])
    found = connection.execute(query.order_by(jobs.c.created_at.desc()).limit(limit)).mappings()
    return [Job.from_row(row) for row in found]


def count_jobs(connection: Connection) -> list[tuple[str, str, int]]:
    """(queue, status, count) of all jobs."""
    query = sa.select(jobs.c.queue, jobs.c.status, sa.func.count()).group_by(jobs.c.queue, jobs.c.status)
    return [(queue, status, count) for queue, status, count in connection.execute(query)]


# Meanwhile another job may wait under the same key, of which there is only one; what is given back goes without.
_GIVEN_BACK: dict[str, Any] = {"status": JobStatus.READY, "coalesce_key": None}


def claim_job(tx: Transaction, job_id: UUID, *, owner: str, lease_s: float) -> Job | None:
    """Claim a job that is ready and due; return None if it is held by another worker or has ended."""
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == JobStatus.READY, jobs.c.due_at <= statement_time())
        .values(
            status=JobStatus.RUNNING,
            attempts=jobs.c.attempts + 1,
            fence=jobs.c.fence + 1,
            lease_owner=owner,
            lease_until=db_time(lease_s),
            started_at=db_time(),
        )
        .returning(jobs)
    )
    found = tx.connection.execute(statement).mappings().first()
    return None if found is None else Job.from_row(found)


def renew_leases(tx: Transaction, held: Sequence[Job], *, lease_s: float) -> None:
    """Lengthen the leases of running jobs, as far as their fences still hold."""
    mine = sa.tuple_(jobs.c.id, jobs.c.fence).in_([(job.id, job.fence) for job in held])
    running = sa.and_(mine, jobs.c.status == JobStatus.RUNNING)
    tx.connection.execute(sa.update(jobs).where(running).values(lease_until=db_time(lease_s)))


def end_job(tx: Transaction, job: Job, status: JobStatus, *, result: Any = None, error: str | None = None) -> bool:
    """End a running job if its fence still holds; tell whether it did."""
    return _update_held(tx, job, {**_ENDING, "status": status, "result": result, "error": error})


def postpone_job(tx: Transaction, job: Job, *, delay_s: float, error: str | None, count_attempt: bool) -> bool:
    """Give a running job back to be tried again after `delay_s` seconds, if its fence still holds."""
    values: dict[str, Any] = {**_GIVEN_BACK, "lease_owner": None, "lease_until": None, "woken_at": None}
    attempts = job.attempts if count_attempt else job.attempts - 1
    return _update_held(tx, job, {**values, "due_at": db_time(delay_s), "error": error, "attempts": attempts})


def _update_held(tx: Transaction, job: Job, values: dict[str, Any]) -> bool:
    held = sa.and_(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.status == JobStatus.RUNNING)
    return tx.connection.execute(sa.update(jobs).where(held).values(**values)).rowcount == 1


def release_expired(tx: Transaction) -> list[Job]:
    """Return every job with an expired lease to the queue; the lost attempt counts."""
    lapsed = sa.and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_until < statement_time())
    values = {
        **_GIVEN_BACK,
        "lease_until": None,
        "woken_at": None,
        "fence": jobs.c.fence + 1,
        "error": sa.literal("the worker was lost, or ran past its lease: ") + sa.func.coalesce(jobs.c.lease_owner, "?"),
    }
    statement = sa.update(jobs).where(lapsed).values(**values).returning(jobs)
    return [Job.from_row(row) for row in tx.connection.execute(statement).mappings()]


def end_unclaimed(tx: Transaction, job_id: UUID, status: JobStatus, *, error: str | None) -> bool:
    """End a job that no worker holds; return whether it was ended."""
    unheld = jobs.c.status.in_([JobStatus.READY, JobStatus.DEAD])
    statement = sa.update(jobs).where(jobs.c.id == job_id, unheld).values(**_ENDING, status=status, error=error)
    return tx.connection.execute(statement).rowcount == 1


def requeue_job(tx: Transaction, job_id: UUID) -> bool:
    """Make a dead or discarded job ready again with a fresh budget; tell whether it was one."""
    ended = jobs.c.status.in_([JobStatus.DEAD, JobStatus.DISCARDED])
    values = {**_GIVEN_BACK, "attempts": 0, "finished_at": None, "due_at": db_time(), "woken_at": db_time()}
    return tx.connection.execute(sa.update(jobs).where(jobs.c.id == job_id, ended).values(**values)).rowcount == 1


def requeue_dead(tx: Transaction, kind: str | None) -> int:
    """Make every dead job, of one kind or all, ready again for the sweep to wake; tell how many."""
    values = {**_GIVEN_BACK, "attempts": 0, "finished_at": None, "due_at": db_time(), "woken_at": None}
    return tx.connection.execute(sa.update(jobs).where(*_dead_of_kind(kind)).values(**values)).rowcount


def discard_dead(tx: Transaction, kind: str | None, *, reason: str) -> int:
    """Discard every dead job, of one kind or all; tell how many."""
    error = sa.literal(f"{reason}; died of: ") + sa.func.coalesce(jobs.c.error, "?")
    values = {**_ENDING, "status": JobStatus.DISCARDED, "error": error}
    return tx.connection.execute(sa.update(jobs).where(*_dead_of_kind(kind)).values(**values)).rowcount


def _dead_of_kind(kind: str | None) -> list[sa.ColumnElement[bool]]:
    return [jobs.c.status == JobStatus.DEAD, *([] if kind is None else [jobs.c.kind == kind])]


def lock_unwoken(
    tx: Transaction, queue: str, lane: int, kinds: Iterable[str], *, limit: int, woken_before_s: float | None = None
) -> list[Job]:
    """Return due jobs of one lane, the oldest first, locked for this transaction; those that others hold are left out.

    Args:
        tx: the transaction.
        queue: the queue of the lane.
        lane: its number.
        kinds: kinds that this version can run.
        limit: jobs at most.
        woken_before_s: those whose last wake-up was sent so many seconds ago; None: those that none was sent for.
    """
    sent = jobs.c.woken_at
    unwoken = sent.is_(None) if woken_before_s is None else sent < statement_time(-woken_before_s)
    here = jobs.c.queue == queue, jobs.c.lane == lane, jobs.c.kind.in_(list(kinds))
    query = sa.select(jobs).where(_IS_READY, jobs.c.due_at <= statement_time(), *here, unwoken)
    query = query.order_by(jobs.c.due_at).limit(limit).with_for_update(skip_locked=True)
    return [Job.from_row(row) for row in tx.connection.execute(query).mappings()]


def count_due_by_lane(tx: Transaction) -> dict[tuple[str, int], int]:
    """Return the number of due jobs by (queue, lane)."""
    due = sa.and_(_IS_READY, jobs.c.due_at <= statement_time())
    query = sa.select(jobs.c.queue, jobs.c.lane, sa.func.count()).where(due).group_by(jobs.c.queue, jobs.c.lane)
    return {(queue, lane): count for queue, lane, count in tx.connection.execute(query)}


def mark_woken(tx: Transaction, job_ids: Sequence[UUID]) -> None:
    """Note that wake-ups are being sent for these jobs."""
    tx.connection.execute(sa.update(jobs).where(jobs.c.id.in_(job_ids)).values(woken_at=db_time()))


def delete_expired(tx: Transaction, *, kept_s: float, limit: int) -> int:
    """Delete up to `limit` jobs that ended well or were discarded over `kept_s` seconds ago; tell how many."""
    old = (
        sa.select(jobs.c.id)
        .where(jobs.c.status.in_([JobStatus.DONE, JobStatus.DISCARDED]), jobs.c.finished_at < statement_time(-kept_s))
        .limit(limit)
    )
    return tx.connection.execute(sa.delete(jobs).where(jobs.c.id.in_(old))).rowcount
