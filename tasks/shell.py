"""How a Celery task is made from a use-case of the library: one shell for jobs with a row, one for bulk work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from agentstate.jobs import Claim, JobRunner
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.runtime import Runtime
from tasks.app import app, runtime

JobHandler: TypeAlias = Callable[[Runtime, Claim], Any]
BulkHandler: TypeAlias = Callable[..., Any]

DECLARED: dict[str, str] = {}
"""Kind -> module of every task made here; a test holds it against the registry."""


def job_task(kind: str) -> Callable[[JobHandler], JobHandler]:
    """Make the Celery task of `kind`: it claims the job that the message names and lets the handler do it."""
    spec = KINDS[kind]

    def bind(handler: JobHandler) -> JobHandler:
        def run(job_id: str) -> None:
            JobRunner(runtime.store, leases=runtime.leases).run_job(UUID(job_id), spec, partial(handler, runtime))

        _register_task(kind, spec.task_name, handler, run)
        return handler

    return bind


def bulk_task(kind: str, **options: Any) -> Callable[[BulkHandler], BulkHandler]:
    """Make the Celery task of bulk work: it lets the next wake-up through, then calls the handler.

    `options` are Celery's, for a message that is more than a hint.
    """
    spec = BULK[kind]

    def bind(handler: BulkHandler) -> BulkHandler:
        def run(*arguments: Any, **keywords: Any) -> None:
            runtime.wake_ups.clear_bulk_wake_up(kind)
            handler(runtime, *arguments, **keywords)

        _register_task(kind, spec.task_name, handler, run, options)
        return handler

    return bind


def _register_task(
    kind: str,
    task: str,
    handler: Callable[..., Any],
    run: Callable[..., None],
    options: dict[str, Any] | None = None,
) -> None:
    DECLARED[kind] = handler.__module__
    app.task(name=task, **(options or {}))(run)  # type: ignore[no-untyped-call]
