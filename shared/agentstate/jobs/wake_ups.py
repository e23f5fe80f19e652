"""Waking workers: a wake-up is only a hint, so losing one costs a delay and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class WakeUp:
    """One message to be sent: which job, by which task, through which lane."""

    task: str
    queue: str
    lane: int
    job_id: UUID

    @property
    def lane_queue(self) -> str:
        """Name of the queue on the broker."""
        return lane_queue(self.queue, self.lane)


class WakeUpSender(Protocol):
    """Interface of senders of wake-ups. Sending never raises: a wake-up is a hint."""

    def send_wake_ups(self, wake_ups: Iterable[WakeUp]) -> None:
        """Send a message for each job."""

    def send_bulk_wake_up(self, kind: str) -> None:
        """Send one message for bulk work, unless one is on its way already."""

    def count_waiting(self, queue: str, lane: int) -> int:
        """Return the number of messages that wait in a lane."""


class NullWakeUpSender:
    """Sender without a broker: jobs run when a sweep finds them."""

    def send_wake_ups(self, wake_ups: Iterable[WakeUp]) -> None:
        """Do nothing."""

    def send_bulk_wake_up(self, kind: str) -> None:
        """Do nothing."""

    def count_waiting(self, queue: str, lane: int) -> int:
        """Return 0: there are no messages."""
        return 0


def lane_of(agent_id: str | None, lanes: int) -> int:
    """The lane of an agent's jobs: always the same, so a flood of one agent fills one lane. Fleet-wide work: 0."""
    return zlib.crc32(agent_id.encode()) % lanes if agent_id else 0


def lane_queue(queue: str, lane: int) -> str:
    """Name of a lane's queue on the broker."""
    return f"{queue}.{lane}"


def lane_queues(queue: str, lanes: int) -> list[str]:
    """Names of all lanes' queues of `queue`."""
    return [lane_queue(queue, lane) for lane in range(lanes)]
