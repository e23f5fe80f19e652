"""A job's handler without a worker: the task's own module, and one job run by it to its end."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from agentstate.jobs import JobRunner
from agentstate.jobs.kinds import KINDS
from agentstate.runtime import Runtime
from agentstate.settings import PREFIX


def task_module(name: str) -> Any:
    """`tasks.<name>`; what it is imported with leads to no database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PREFIX + "DATABASE_URL", "sqlite:///unused.db")
        return importlib.import_module(f"tasks.{name}")


def run_job(runtime: Runtime, job: UUID, handler: Any) -> dict[str, Any]:
    """The result of a job that succeeds."""
    JobRunner(runtime.store).run_job(job, KINDS[runtime.jobs.get(job).kind], partial(handler, runtime))
    ended = runtime.jobs.get(job)
    assert ended.status == "done", ended.error
    return dict(ended.result)
