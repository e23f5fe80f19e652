"""Background jobs: the row in the durable store is the job, the Celery message only a wake-up for a worker.

`Jobs.submit` writes the row in the caller's transaction; `JobRunner` claims and runs it; `Sweep` finds what was lost.
"""

from agentstate.jobs.job import Job, JobStatus
from agentstate.jobs.jobs import Jobs
from agentstate.jobs.runner import Claim, JobRunner, Outcome, Postpone
from agentstate.jobs.sweep import JobSweeper

__all__ = ["Claim", "Job", "JobRunner", "JobStatus", "JobSweeper", "Jobs", "Outcome", "Postpone"]
