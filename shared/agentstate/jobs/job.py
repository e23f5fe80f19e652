"""A job as it is read from its row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.engine import RowMapping


class JobStatus(StrEnum):
    """The status of a job."""

    READY = "ready"
    """Waits for its due time or for a worker."""
    RUNNING = "running"
    """A worker holds its lease."""
    DONE = "done"
    """Ended well; its result is kept for a while."""
    DEAD = "dead"
    """Ended badly; stays until requeued or discarded."""
    DISCARDED = "discarded"
    """Given up on purpose."""


ENDED = frozenset({JobStatus.DONE, JobStatus.DEAD, JobStatus.DISCARDED})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of the table of jobs."""

    id: UUID
    kind: str
    queue: str
    lane: int
    agent_id: str | None
    payload: dict[str, Any]
    dedupe_key: str | None
    coalesce_key: str | None
    status: JobStatus
    attempts: int
    """Claims so far."""
    max_attempts: int
    fence: int
    """Grows with each claim; a result is taken only from the newest."""
    lease_owner: str | None
    lease_until: datetime | None
    due_at: datetime
    woken_at: datetime | None
    error: str | None
    """Why the last attempt failed."""
    result: Any
    trace: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def from_row(cls, row: RowMapping) -> Job:
        """Read a row of `tables.jobs`."""
        fields = dict(row)
        return cls(**{**fields, "status": JobStatus(fields["status"])})

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in ENDED

    def as_dict(self) -> dict[str, Any]:
        """Every field as JSON takes it, times in ISO 8601."""
        fields = dict(vars(self))
        for name, value in fields.items():
            if isinstance(value, UUID):
                fields[name] = str(value)
            elif isinstance(value, datetime):
                fields[name] = value.isoformat()
        return fields
