"""Beat's scheduler: when it fires the entries, whatever the clocks of this machine and of the workers' do.

It keeps no file: each entry is fired at the start, which the slots of jobs make harmless, so a beat that is replaced
daily fires what is due once a day. When this machine's clock is set, all entries move with it. A message says by the
broker's clock until when it is of use, so a worker whose own clock is off drops none.

It touches `WORKERS_HEARTBEAT_FILE` at every look at the schedule. The scheduler's own loop is the witness, so a beat
that hangs in it is found, while one whose broker is away goes on looking (every 30 seconds at least) and is left alone.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from celery.beat import Scheduler

from tasks.app import runtime
from workers.heartbeat import Heartbeat

JUMP_S = 1.0
"""Least change of the clock that counts as one."""

_log = logging.getLogger(__name__)


class BeatScheduler(Scheduler):
    """Celery's own scheduler, kept in memory, watched, and independent of the wall clock."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._heartbeat = Heartbeat.from_environment()
        self._looked_at: tuple[datetime, float] | None = None
        super().__init__(*arguments, **options)

    def setup_schedule(self) -> None:
        """Take the entries from the settings, each due now."""
        super().setup_schedule()
        entry: Any
        for entry in self.schedule.values():
            entry.last_run_at -= entry.schedule.run_every

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Fire the entries that are due; return the seconds until the next look."""
        self._heartbeat.touch_file()
        self._follow_clock(self.app.now(), time.monotonic())
        return float(super().tick(*arguments, **options))

    def apply_async(self, entry: Any, *arguments: Any, **options: Any) -> Any:
        """Send the message of an entry, of use until the next one is sent."""
        now = runtime.wake_ups.read_broker_time()
        until = {} if now is None else {"usable_until": f"{now + entry.schedule.run_every.total_seconds():.3f}"}
        entry.options = {**entry.options, "headers": until}
        return super().apply_async(entry, *arguments, **options)

    def _follow_clock(self, now: datetime, elapsed: float) -> None:
        """Move the entries when the clock was set since the last look."""
        if self._looked_at is not None:
            before, then = self._looked_at
            jump = (now - before).total_seconds() - (elapsed - then)
            if abs(jump) >= JUMP_S:
                _log.warning("the clock was set by %.0f s; the schedule moves with it", jump)
                entry: Any
                for entry in self.schedule.values():
                    entry.last_run_at += timedelta(seconds=jump)
                self._heap = None
        self._looked_at = now, elapsed
