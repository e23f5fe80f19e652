"""The Celery application of all processes, the one runtime of this process, and the makers of its tasks.

A task is a shell over a use-case of the library: for a job with a row, for a walk in slices, or for bulk work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from agentstate.jobs import Claim, JobRunner
from agentstate.jobs.broker import make_app, register_plain_json
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.runtime import Runtime
from agentstate.settings import Settings

MODULES = (
    "tasks.effects",
    "tasks.embedding",
    "tasks.housekeeping",
    "tasks.reconciliation",
    "tasks.submissions",
    "tasks.summarization",
)
"""Every module with tasks; the application imports them when a worker starts."""

register_plain_json()
settings = Settings.load()
app = make_app(settings)
app.conf.include = list(MODULES)
runtime = Runtime(settings, pool_size=10)


JobHandler: TypeAlias = Callable[[Runtime, Claim], Any]
BulkHandler: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Slice:
    """The result of one slice of a walk."""

    result: dict[str, Any]
    following: Mapping[str, str] | None
    """Payload of the job that does the next slice, without the slot; None at the end of the walk."""


SliceHandler: TypeAlias = Callable[[Runtime, Claim], Slice]

DECLARED: dict[str, str] = {}
"""Kind -> module of every task made here; a test holds it against the registry."""


def job_task(kind: str) -> Callable[[JobHandler], JobHandler]:
    """Make the Celery task of `kind`: it claims the job that the message names and lets the handler do it."""
    spec = KINDS[kind]

    def bind_handler(handler: JobHandler) -> JobHandler:
        def run(job_id: str) -> None:
            JobRunner(runtime.store, leases=runtime.leases).run_job(UUID(job_id), spec, partial(handler, runtime))

        _register_task(kind, spec.task_name, handler, run)
        return handler

    return bind_handler


def bulk_task(kind: str) -> Callable[[BulkHandler], BulkHandler]:
    """Make the Celery task of bulk work: it lets the next wake-up through, then calls the handler."""
    spec = BULK[kind]

    def bind_handler(handler: BulkHandler) -> BulkHandler:
        def run(*arguments: Any, **keywords: Any) -> None:
            # Beat's messages say until when they are of use, by the one clock that both sides can ask.
            request: Any = getattr(app.current_task, "request", None)
            until = (getattr(request, "headers", None) or {}).get("usable_until")
            if until is not None and (runtime.wake_ups.read_broker_time() or 0.0) > float(until):
                return
            runtime.wake_ups.clear_bulk_wake_up(kind)
            handler(runtime, *arguments, **keywords)

        _register_task(kind, spec.task_name, handler, run)
        return handler

    return bind_handler


def slice_task(kind: str, *, wakes: str | None = None) -> Callable[[SliceHandler], JobHandler]:
    """Make the Celery task of `kind` from a handler that does one slice of a walk; the next slice is a job of its own.

    That job is submitted in the transaction that ends this one, so that no slice is left out and none is done twice.

    Args:
        kind: of a job whose payload has a `slot`, which all slices of a walk share.
        wakes: bulk work to wake after each slice.
    """

    def bind_handler(handler: SliceHandler) -> JobHandler:
        def run_slice(opened: Runtime, claim: Claim) -> dict[str, Any]:
            done = handler(opened, claim)
            with opened.store.transaction() as tx:
                if done.following is not None:
                    slot, where = claim.payload.slot, done.following
                    key = ":".join(("slot", slot, *map(str, where.values())))
                    opened.jobs.submit(kind, {"slot": slot, **where}, dedupe_key=key, tx=tx)
                if wakes is not None:
                    opened.jobs.wake_bulk(wakes, tx=tx)
                claim.finish(tx, done.result)
            return done.result

        run_slice.__module__ = handler.__module__
        return job_task(kind)(run_slice)

    return bind_handler


def _register_task(kind: str, task: str, handler: Callable[..., Any], run: Callable[..., None]) -> None:
    DECLARED[kind] = handler.__module__
    app.task(name=task)(run)


def repeat_until_done(runtime: Runtime, deadline_s: float, take_slice: Callable[[], int]) -> None:
    """Call `take_slice` until it returns 0 or the deadline passes; the next wake-up does the rest."""
    until = time.monotonic() + deadline_s
    while not runtime.stopping.is_set() and time.monotonic() < until:
        if take_slice() == 0:
            return
