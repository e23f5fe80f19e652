"""Jobs on both stores: what is submitted exists exactly if the caller commits, runs once, and is never lost."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Iterable
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from agentstate.errors import (
    InvalidInput,
    JobDead,
    KeyReused,
    NotFound,
    ProviderRateLimited,
    ProviderRefused,
    TooLarge,
    WaitTimeout,
)
from agentstate.jobs import Claim, JobRunner, Jobs, JobStatus, JobSweeper, Outcome, Postpone
from agentstate.jobs import table as job_table
from agentstate.jobs.jobs import submit_for_slot
from agentstate.jobs.kinds import KINDS
from agentstate.jobs.leases import LEASE_S, RENEW_EVERY_S, LeaseRenewer
from agentstate.jobs.wake_ups import WakeUp, lane_of
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import jobs as table
from agentstate.store.tables.base import db_time

REFRESH = KINDS["cache.refresh"]
SUMMARIZE = KINDS["summarization.summarize_conversation"]


class Recorder:
    """A waker that notes what it was asked to send, and pretends a queue of `waiting` messages."""

    def __init__(self) -> None:
        self.sent: list[WakeUp] = []
        self.bulk: list[str] = []
        self.waiting = 0

    def send_wake_ups(self, wake_ups: Iterable[WakeUp]) -> None:
        self.sent.extend(wake_ups)

    def send_bulk_wake_up(self, kind: str) -> None:
        self.bulk.append(kind)

    def count_waiting(self, queue: str, lane: int) -> int:
        return self.waiting


@pytest.fixture
def waker() -> Recorder:
    return Recorder()


@pytest.fixture
def jobs(store: Store, waker: Recorder, database_url: str) -> Jobs:
    return Jobs(store, waker, Settings.load(database_url=database_url))


@pytest.fixture
def runner(store: Store) -> JobRunner:
    return JobRunner(store, owner="test", draw=random.Random(1))


def submit(jobs: Jobs, **options: Any) -> UUID:
    return jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_7", **options)


def make_due(store: Store, job_id: UUID) -> None:
    with store.transaction() as tx:
        tx.connection.execute(sa.update(table).where(table.c.id == job_id).values(due_at=db_time(-1)))


def expire_lease(store: Store, job_id: UUID) -> None:
    with store.transaction() as tx:
        tx.connection.execute(sa.update(table).where(table.c.id == job_id).values(lease_until=db_time(-1)))


def test_a_job_is_woken_after_the_commit_and_not_before(jobs: Jobs, store: Store, waker: Recorder) -> None:
    with store.transaction() as tx:
        job_id = submit(jobs, tx=tx)
        assert waker.sent == []
    assert [item.job_id for item in waker.sent] == [job_id]
    assert jobs.get(job_id).status is JobStatus.READY


def test_a_job_of_a_transaction_that_rolls_back_never_was(jobs: Jobs, store: Store, waker: Recorder) -> None:
    made: list[UUID] = []

    def change_my_mind() -> None:
        with store.transaction() as tx:
            made.append(submit(jobs, tx=tx))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    assert waker.sent == []
    with pytest.raises(NotFound, match=str(made[0])):
        jobs.get(made[0])


def test_the_same_dedupe_key_gives_the_same_job_even_when_it_is_done(jobs: Jobs, runner: JobRunner) -> None:
    first = submit(jobs, dedupe_key="k")
    assert runner.run_job(first, REFRESH, lambda _: {"ok": True}) is Outcome.DONE
    assert submit(jobs, dedupe_key="k") == first
    assert jobs.get(first).status is JobStatus.DONE


def test_a_dedupe_key_belongs_to_one_agent(jobs: Jobs) -> None:
    first = submit(jobs, dedupe_key="k")
    other = jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_8", dedupe_key="k")
    assert other != first


def test_a_dedupe_key_with_another_payload_is_refused(jobs: Jobs) -> None:
    submit(jobs, dedupe_key="k")
    with pytest.raises(KeyReused, match="'k'"):
        jobs.submit("cache.refresh", {"service": "wallet"}, agent_id="ag_7", dedupe_key="k")


def test_a_job_is_given_back_while_another_waits_under_its_coalesce_key(jobs: Jobs, store: Store) -> None:
    first = submit(jobs, coalesce_key="c")
    with store.transaction() as tx:
        held = job_table.claim_job(tx, first, owner="w", lease_s=-1.0)
    second = submit(jobs, coalesce_key="c")
    assert held is not None
    assert second != first
    with store.transaction() as tx:
        assert [job.id for job in job_table.release_expired(tx)] == [first]
    with store.transaction() as tx:
        again = job_table.claim_job(tx, first, owner="w", lease_s=60.0)
        assert again is not None
        assert job_table.postpone_job(tx, again, delay_s=0.0, error=None, count_attempt=True)
    assert {jobs.get(job).status for job in (first, second)} == {"ready"}
    assert submit(jobs, coalesce_key="c") == second


def test_a_coalesce_key_holds_only_while_the_job_waits(jobs: Jobs, store: Store) -> None:
    first = submit(jobs, coalesce_key="c")
    assert submit(jobs, coalesce_key="c") == first
    with store.transaction() as tx:
        assert job_table.claim_job(tx, first, owner="w", lease_s=30) is not None
    assert submit(jobs, coalesce_key="c") != first


@pytest.mark.parametrize(
    ("kind", "payload", "options", "reason"),
    [
        ("cache.refesh", {"service": "casino"}, {}, "no kind of job 'cache.refesh'"),
        ("cache.refresh", {"servise": "casino"}, {}, "servise"),
        ("cache.refresh", {"service": 7}, {}, "service"),
        ("cache.refresh", {"service": "casino"}, {"agent_id": "a b"}, "agent id 'a b'"),
        ("cache.refresh", {"service": "casino"}, {"agent_id": None}, "belongs to an agent"),
        ("cache.refresh", {"service": "casino"}, {"dedupe_key": ""}, "1 to 200 characters, this one 0"),
    ],
)
def test_bad_submissions_are_refused_and_store_nothing(
    jobs: Jobs, kind: str, payload: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        jobs.submit(kind, payload, **{"agent_id": "ag_7", **options})
    assert jobs.list() == []


def test_a_payload_over_the_limit_is_refused_with_both_sizes(jobs: Jobs) -> None:
    with pytest.raises(TooLarge, match=r"has 70\d\d\d bytes, allowed are 65536"):
        jobs.submit("cache.refresh", {"service": "x" * 70_000}, agent_id="ag_7")


def test_a_second_delivery_finds_nothing_to_claim(jobs: Jobs, runner: JobRunner) -> None:
    job_id, calls = submit(jobs), []
    assert runner.run_job(job_id, REFRESH, calls.append) is Outcome.DONE
    assert runner.run_job(job_id, REFRESH, calls.append) is Outcome.NOTHING
    assert len(calls) == 1


@pytest.mark.parametrize("result", [None, {}, 0, "", [], False, {"balance": "2.50"}, 20 * 10**18 + 1, 10**400])
def test_any_result_is_kept_as_it_is(jobs: Jobs, runner: JobRunner, result: Any) -> None:
    job_id = submit(jobs)
    runner.run_job(job_id, REFRESH, lambda _: result)
    assert jobs.wait(job_id).result == result


def test_a_result_that_cannot_be_stored_does_not_undo_the_success(jobs: Jobs, runner: JobRunner) -> None:
    job_id = submit(jobs)
    assert runner.run_job(job_id, REFRESH, lambda _: {"price": 0.1}) is Outcome.DONE
    assert jobs.get(job_id).result == {"repr": "{'price': 0.1}"}


def test_a_failure_is_tried_again_and_ends_by_the_kinds_last_action(
    jobs: Jobs, store: Store, runner: JobRunner
) -> None:
    def fail(_: Claim) -> None:
        raise OSError("no route")

    job_id = submit(jobs)
    for _ in range(REFRESH.retry.max_attempts - 1):
        assert runner.run_job(job_id, REFRESH, fail) is Outcome.RETRY
        make_due(store, job_id)
    assert runner.run_job(job_id, REFRESH, fail) is Outcome.ENDED
    job = jobs.get(job_id)
    assert (job.status, job.attempts, job.error) == (JobStatus.DISCARDED, 3, "OSError: no route")


def test_a_hopeless_failure_is_dead_at_once_and_can_be_requeued(jobs: Jobs, runner: JobRunner) -> None:
    def refuse(_: Claim) -> None:
        raise ProviderRefused("no quota")

    job_id = jobs.submit(SUMMARIZE.kind, {"conversation_id": "c"}, agent_id="ag_7")
    assert runner.run_job(job_id, SUMMARIZE, refuse) is Outcome.ENDED
    with pytest.raises(JobDead, match="no quota"):
        jobs.wait(job_id)
    assert jobs.requeue(job_id).status is JobStatus.READY
    assert runner.run_job(job_id, SUMMARIZE, lambda _: None) is Outcome.DONE
    with pytest.raises(InvalidInput, match="only dead or discarded"):
        jobs.requeue(job_id)


def test_a_rate_limit_waits_as_long_as_it_asks(jobs: Jobs, runner: JobRunner, store: Store) -> None:
    def limited(_: Claim) -> None:
        raise ProviderRateLimited("slow down", retry_after=90.0)

    job_id = submit(jobs)
    assert runner.run_job(job_id, REFRESH, limited) is Outcome.RETRY
    with store.transaction() as tx:
        assert (jobs.get(job_id).due_at - tx.now()).total_seconds() > 80


def test_postponing_does_not_count_as_an_attempt(jobs: Jobs, runner: JobRunner) -> None:
    def not_yet(_: Claim) -> None:
        raise Postpone(60.0, "settling")

    job_id = submit(jobs)
    assert runner.run_job(job_id, REFRESH, not_yet) is Outcome.RETRY
    assert (jobs.get(job_id).attempts, jobs.get(job_id).error) == (0, "settling")
    assert runner.run_job(job_id, REFRESH, lambda _: None) is Outcome.NOTHING


def test_a_lost_workers_job_is_given_back_and_its_late_result_fenced(
    jobs: Jobs, store: Store, waker: Recorder, runner: JobRunner
) -> None:
    job_id = submit(jobs)

    def stall(_: Claim) -> str:
        expire_lease(store, job_id)
        assert JobSweeper(store, waker).sweep_once().released == 1
        assert JobRunner(store, owner="other").run_job(job_id, REFRESH, lambda _: "second") is Outcome.DONE
        return "first"

    assert runner.run_job(job_id, REFRESH, stall) is Outcome.FENCED
    assert jobs.get(job_id).result == "second"


def test_a_handler_can_finish_in_its_own_transaction_and_is_rolled_back_when_fenced(
    jobs: Jobs, store: Store, waker: Recorder, runner: JobRunner
) -> None:
    job_id = submit(jobs)

    def late(claim: Claim) -> None:
        expire_lease(store, job_id)
        JobSweeper(store, waker).sweep_once()
        with store.transaction() as tx:
            submit(jobs, dedupe_key="follow-up", tx=tx)
            claim.finish(tx, "late")

    assert runner.run_job(job_id, REFRESH, late) is Outcome.FENCED
    assert [job.id for job in jobs.list()] == [job_id]


def test_a_job_that_kills_its_workers_ends_after_its_budget(jobs: Jobs, store: Store, waker: Recorder) -> None:
    job_id = submit(jobs)
    for _ in range(REFRESH.retry.max_attempts):
        with store.transaction() as tx:
            assert job_table.claim_job(tx, job_id, owner="doomed", lease_s=30) is not None
        expire_lease(store, job_id)
        report = JobSweeper(store, waker).sweep_once()
    assert report.ended == 1
    assert jobs.get(job_id).error == "the worker was lost, or ran past its lease: doomed"


def test_the_sweep_sends_a_lost_wake_up_again(jobs: Jobs, store: Store, waker: Recorder) -> None:
    job_id = submit(jobs)
    waker.sent.clear()
    assert JobSweeper(store, waker).sweep_once().woken == 0
    assert JobSweeper(store, waker, unwoken_for_s=-1).sweep_once().woken == 1
    assert [item.job_id for item in waker.sent] == [job_id]


def test_the_sweep_does_not_take_a_long_queue_for_a_lost_one(jobs: Jobs, store: Store, waker: Recorder) -> None:
    for _ in range(3):
        submit(jobs)
    waker.waiting = 2
    assert JobSweeper(store, waker, unwoken_for_s=-1).sweep_once().woken == 1


def test_a_flooded_lane_hides_no_lost_job_of_another(jobs: Jobs, store: Store) -> None:
    class Flooded(Recorder):
        def count_waiting(self, queue: str, lane: int) -> int:
            return 700 if (queue, lane) == flooded else 0

    for _ in range(700):
        submit(jobs)
    flooded = ("cache", jobs.list(limit=1)[0].lane)
    others = (f"ag_{number}" for number in range(50))
    agent = next(
        name for name in others if lane_of(name, Settings.load(database_url="sqlite:///x").lanes) != flooded[1]
    )
    lost = jobs.submit("cache.refresh", {"service": "casino"}, agent_id=agent)
    waker = Flooded()
    assert JobSweeper(store, waker, unwoken_for_s=-1).sweep_once().woken == 1
    assert [item.job_id for item in waker.sent] == [lost]


def test_a_sweep_over_many_delayed_jobs_reads_the_index(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    with store.transaction() as tx:
        tx.connection.exec_driver_sql(
            "INSERT INTO jobs (id, kind, queue, lane, payload, max_attempts, due_at, created_at) "
            "SELECT gen_random_uuid(), 'cache.refresh', 'cache', mod(n, 4), '{}', 3, now() + interval '1 day', now() "
            "FROM generate_series(1, 100000) AS n"
        )
        tx.connection.exec_driver_sql("ANALYZE jobs")
        asked: list[tuple[str, Any]] = []
        sa.event.listen(store.engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        job_table.count_due_by_lane(tx)
        job_table.lock_unwoken(tx, "cache", 1, KINDS, limit=10)
        job_table.lock_unwoken(tx, "cache", 1, KINDS, limit=10, woken_before_s=10)
        for statement, values in asked[:3]:
            plan = tx.connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
            condition = next(line for line in plan if "Index Cond" in line)
            assert "due_at" in condition, plan
    store.close()


def test_a_delayed_job_is_woken_when_it_is_due(jobs: Jobs, store: Store, waker: Recorder, runner: JobRunner) -> None:
    job_id = submit(jobs, due_in=60)
    assert waker.sent == []
    assert runner.run_job(job_id, REFRESH, lambda _: None) is Outcome.NOTHING
    assert JobSweeper(store, waker).sweep_once().woken == 0
    make_due(store, job_id)
    assert JobSweeper(store, waker).sweep_once().woken == 1


def test_twenty_workers_run_a_job_once(jobs: Jobs, store: Store) -> None:
    job_id, calls, outcomes = submit(jobs), [], []
    barrier = threading.Barrier(20)

    def work() -> None:
        barrier.wait()
        outcomes.append(JobRunner(store).run_job(job_id, REFRESH, lambda claim: calls.append(claim.job.fence)))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert sorted(outcomes) == ["done", *["nothing"] * 19]


def test_twenty_submitters_with_one_key_make_one_job(jobs: Jobs) -> None:
    found: list[UUID] = []
    barrier = threading.Barrier(20)

    def work() -> None:
        barrier.wait()
        found.append(submit(jobs, dedupe_key="once"))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1


def test_a_slot_gives_one_job_however_often_it_is_fired(jobs: Jobs, store: Store) -> None:
    first = submit_for_slot(store, jobs, "snapshots.take", 86_400)
    assert submit_for_slot(store, jobs, "snapshots.take", 86_400) == first
    assert jobs.get(first).payload["slot"].endswith("T00:00:00+00:00")


def test_waiting_for_a_job_that_nobody_runs_says_where_it_stands(jobs: Jobs) -> None:
    job_id = submit(jobs)
    with pytest.raises(WaitTimeout, match=r"is ready after 0\.05 seconds"):
        jobs.wait(job_id, timeout_s=0.05)


def test_discarding_keeps_the_reason(jobs: Jobs) -> None:
    job_id = submit(jobs)
    assert jobs.discard(job_id, "not needed").error == "not needed"
    assert jobs.list(status="discarded")[0].id == job_id
    with pytest.raises(InvalidInput, match="is not a status"):
        jobs.list(status="lost")


def test_expire_removes_what_ended_well_and_keeps_the_dead(jobs: Jobs, store: Store, runner: JobRunner) -> None:
    done, dead = submit(jobs), jobs.submit(SUMMARIZE.kind, {"conversation_id": "c"}, agent_id="ag_7")
    runner.run_job(done, REFRESH, lambda _: None)

    def refuse(_: Claim) -> None:
        raise ProviderRefused("no")

    runner.run_job(dead, SUMMARIZE, refuse)
    with store.transaction() as tx:
        assert job_table.delete_expired(tx, kept_s=-5, limit=10) == 1
    assert [job.id for job in jobs.list()] == [dead]


def test_a_lease_is_short_and_is_lengthened_while_the_worker_lives(jobs: Jobs, store: Store, waker: Recorder) -> None:
    """However long a job may take, a lost worker's job is taken up again after the short lease."""
    keeper = LeaseRenewer(store, lease_s=30.0, every_s=0.02)
    job_id = submit(jobs)
    lengthened = threading.Event()

    def work(claim: Claim) -> None:
        expire_lease(store, job_id)
        while not lengthened.wait(0.01):
            found = jobs.get(job_id)
            assert found.lease_until is not None
            assert claim.job.lease_until is not None
            if found.lease_until > claim.job.lease_until:
                lengthened.set()

    with closing(keeper):
        assert JobRunner(store, leases=keeper).run_job(job_id, SUMMARIZE, work) is Outcome.DONE


def test_a_lease_is_not_lengthened_past_the_deadline_nor_for_another_worker(jobs: Jobs, store: Store) -> None:
    keeper, late = LeaseRenewer(store, lease_s=30.0, every_s=0.01), submit(jobs)
    with store.transaction() as tx:
        job = job_table.claim_job(tx, late, owner="w", lease_s=5.0)
    assert job is not None
    with closing(keeper), keeper.hold_lease(job, for_s=-1.0):
        threading.Event().wait(0.1)
    with store.transaction() as tx:
        job_table.renew_leases(tx, [dataclasses.replace(job, fence=job.fence + 1)], lease_s=30.0)
    assert jobs.get(late).lease_until == job.lease_until


def test_a_lost_workers_job_is_free_again_within_half_a_minute() -> None:
    longest_between_sweeps_s = Settings.model_fields["sweep_every_s"].default
    assert LEASE_S + longest_between_sweeps_s <= 30
    assert LEASE_S > 3 * RENEW_EVERY_S
