"""The jobs of one agent: submit, read and wait for its own work in the background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from agentstate.errors import NotFound
from agentstate.jobs.job import Job
from agentstate.jobs.jobs import Jobs
from agentstate.store.store import Transaction


class AgentJobs:
    """The jobs of one agent; `agent.jobs`."""

    def __init__(self, jobs: Jobs, agent_id: str) -> None:
        self.agent_id = agent_id
        self._jobs = jobs

    def submit(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        *,
        dedupe_key: str | None = None,
        coalesce_key: str | None = None,
        due_in: float = 0.0,
        tx: Transaction | None = None,
    ) -> UUID:
        """Write a job of the agent and wake a worker once it is committed; return its id.

        Args:
            kind: as the page of jobs lists them.
            payload: as the kind declares it.
            dedupe_key: names this request: submitted again, it gives the first job's id, whatever became of it.
            coalesce_key: names the work: while a job with it waits, its id is returned instead of a new one.
            due_in: seconds to wait before it may run.
            tx: the transaction to write in; the job exists exactly if that commits.

        Raises:
            InvalidInput: an unknown kind, a wrong payload or key. TooLarge: over `max_payload_bytes`.
            KeyReused: the dedupe key was used with another payload.

        Example:
            job_id = agent.jobs.submit("cache.refresh", {"service": "casino"})
        """
        return self._jobs.submit(
            kind,
            dict(payload or {}),
            agent_id=self.agent_id,
            dedupe_key=dedupe_key,
            coalesce_key=coalesce_key,
            due_in=due_in,
            tx=tx,
        )

    def get(self, job_id: UUID | str) -> Job:
        """Return one job of the agent; raises NotFound, also for another agent's."""
        job = self._jobs.get(job_id)
        if job.agent_id != self.agent_id:
            raise NotFound(f"{self.agent_id} has no job {job_id}.")
        return job

    def find(self, job_id: UUID | str) -> Job | None:
        """Return one job of the agent; None when there is none."""
        try:
            return self.get(job_id)
        except NotFound:
            return None

    def wait(self, job_id: UUID | str, *, timeout_s: float = 30.0) -> Job:
        """Return the job once it has succeeded.

        Raises:
            JobDead: it ended badly; the text tells why. WaitTimeout: it has not ended after `timeout_s` seconds.
        """
        self.get(job_id)
        return self._jobs.wait(job_id, timeout_s=timeout_s)

    def list(self, *, status: str | None = None, kind: str | None = None, limit: int = 50) -> list[Job]:
        """Return the agent's newest jobs that match, at most `limit`."""
        return self._jobs.list(status=status, kind=kind, agent_id=self.agent_id, limit=limit)
