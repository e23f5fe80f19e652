"""Declaration of a kind of job: name, queue, payload, deadline, retries, and the action after the last one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

import msgspec

QUEUES = ("embedding", "summarization", "cache", "reconciliation", "effects", "snapshots", "housekeeping")
"""All queues; each is a set of lanes, `<queue>.<n>`."""


class LastAction(StrEnum):
    """The action for a job that has used up its attempts."""

    DEAD_LETTER = "dead"
    """It stays with its cause until somebody requeues or discards it."""
    DISCARD = "discarded"
    """It is dropped, since the next one of its kind does its work."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Number of attempts of a failed job, and the waits between them."""

    max_attempts: int
    """Claims in all, those that ended with a lost worker included."""
    base_s: float = 1.0
    """Upper bound of the first wait, in seconds; it doubles with each attempt."""
    cap_s: float = 120.0
    """Longest wait, in seconds."""

    def draw_delay(self, attempt: int, draw: random.Random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1): full jitter under a doubling bound.

        Full jitter spreads a crowd of retries best (M. Brooker, "Exponential Backoff And Jitter", 2015).
        """
        bound: float = min(self.cap_s, self.base_s * 2 ** min(attempt - 1, 30))
        return draw.uniform(0, bound)


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all payloads: plain JSON fields, unknown ones refused."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One kind of job. The registry of all of them is `agentstate.jobs.kinds.KINDS`."""

    kind: str
    """`<noun>.<verb>`; stable, since rows and messages carry it."""
    queue: str
    """One of `QUEUES`."""
    payload: type[Payload]
    """What the payload must be; checked at submit."""
    summary: str
    """One line for the reference."""
    deadline_s: float = 60.0
    """Longest run; the lease lasts a little longer, then another worker takes over."""
    retry: RetryPolicy = RetryPolicy(max_attempts=8)
    last_action: LastAction = LastAction.DEAD_LETTER
    per_agent: bool = True
    """Whether the job must name an agent."""
    by_agents: bool = True
    """Whether agents may submit it; the others are the system's own."""

    @property
    def task_name(self) -> str:
        """Name of the Celery task that runs it."""
        return f"agentstate.{self.kind}"


@dataclass(frozen=True, kw_only=True)
class BulkSpec:
    """Work that claims rows of its own in batches; its message carries nothing and its wake-ups coalesce."""

    kind: str
    queue: str
    summary: str
    deadline_s: float = 60.0

    @property
    def task_name(self) -> str:
        """Name of the Celery task that runs it."""
        return f"agentstate.{self.kind}"
