"""Beat's scheduler with a heartbeat: it touches `WORKERS_HEARTBEAT_FILE` at every look at the schedule.

The scheduler's own loop is the witness, so a beat that hangs in it is found, while one whose broker is away goes on
looking (every 30 seconds at least) and is left alone.
"""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler

from workers.heartbeat import Heartbeat


class HeartbeatScheduler(PersistentScheduler):
    """Celery's own scheduler, watched."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._heartbeat = Heartbeat.from_environment()
        super().__init__(*arguments, **options)

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Fire the entries that are due; return the seconds until the next look."""
        self._heartbeat.touch_file()
        return float(super().tick(*arguments, **options))
