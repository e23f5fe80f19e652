"""The jobs that draw lessons from an agent's episodes: one when enough wait, one a day later for however few.

Recording must stay one commit, so this process counts what it records of each agent, and submits a job once an hour or
once for so many episodes. The job of a day later submits its successor as long as the agent records: see
`tasks/summarization.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from agentstate.errors import AgentStateError
from agentstate.jobs import Jobs
from agentstate.store.store import Transaction

DRAW_LESSONS: Final = "summarization.draw_lessons"
ENOUGH: Final = 50
"""Episodes from which a lesson is drawn at once."""
LONGEST_WAIT: Final = timedelta(days=1)
"""After this time a lesson is drawn from however few there are."""
EXPECT_AGAIN_S: Final = 3_600.0
RECORDS_ON_S: Final = 2 * EXPECT_AGAIN_S
"""An agent that recorded within so many seconds may have a process that does not submit the next job by itself."""

_REMEMBERED_AGENTS: Final = 10_000
_log = logging.getLogger(__name__)


class LessonJobs:
    """Submits the jobs for the agents that this process records episodes of. Safe to share between threads."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def expect_records(self, agent_id: str, *, tx: Transaction | None = None) -> None:
        """Make sure that there is a job of a day later, once an hour; call it before the episodes are recorded.

        Raises:
            StoreUnavailable: the durable store does not answer.
        """
        now = time.monotonic()
        with self._lock:
            expected_at, counted = self._counts.get(agent_id, (now - EXPECT_AGAIN_S, 0))
        if now - expected_at >= EXPECT_AGAIN_S:
            self.submit_later(agent_id, tx=tx)
            with self._lock:
                self._counts[agent_id] = now, counted
                self._counts.move_to_end(agent_id)
                if len(self._counts) > _REMEMBERED_AGENTS:
                    self._counts.popitem(last=False)

    def count_records(self, agent_id: str, count: int, *, tx: Transaction | None = None) -> None:
        """Count episodes that are recorded now, and submit a job when there are enough of them."""
        with self._lock:
            expected_at, counted = self._counts.get(agent_id, (time.monotonic(), 0))
            self._counts[agent_id] = expected_at, (counted + count) % ENOUGH
        if counted + count >= ENOUGH:
            try:
                self.submit_now(agent_id, tx=tx)
            except AgentStateError as error:
                _log.warning("could not submit the drawing of lessons of %s, later jobs will: %s", agent_id, error)

    def submit_now(self, agent_id: str, *, tx: Transaction | None = None) -> None:
        """Submit the job that draws a lesson if enough episodes wait."""
        self._jobs.submit(DRAW_LESSONS, agent_id=agent_id, coalesce_key=f"now:{agent_id}", tx=tx)

    def submit_later(self, agent_id: str, *, tx: Transaction | None = None) -> None:
        """Submit the job that draws a lesson when the episodes have waited for `LONGEST_WAIT`."""
        due_in = LONGEST_WAIT.total_seconds() + 60
        self._jobs.submit(DRAW_LESSONS, agent_id=agent_id, coalesce_key=f"later:{agent_id}", due_in=due_in, tx=tx)
