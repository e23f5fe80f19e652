"""Summarization: the older turns of a long conversation become its summary, episodes the archive's and lessons."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.episodes.archiving import DRAW_LESSONS, EpisodeArchiver
from agentstate.memory.episodes.lessons import LessonDrawer
from agentstate.runtime import Runtime
from tasks.shell import bulk_task, job_task

ARCHIVE = "summarization.archive_episodes"


@job_task("summarization.summarize_conversation")
def summarize_conversation(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Summarize one conversation until few of its turns are open."""
    summarizer = ConversationSummarizer(runtime.store, runtime.summarizer, runtime.settings)
    last_try = claim.job.attempts >= claim.job.max_attempts
    return asdict(summarizer.run(claim.payload.conversation_id, job_id=claim.job.id, last_try=last_try))


@bulk_task(ARCHIVE)
def archive_episodes(runtime: Runtime) -> None:
    """Archive what agents recorded, and give Redis what it missed while it was away."""
    until = time.monotonic() + BULK[ARCHIVE].deadline_s / 2
    archiver = EpisodeArchiver(runtime.recent_episodes, runtime.episode_archive, runtime.jobs, runtime.settings)
    archiver.run(lambda: runtime.stopping.is_set() or time.monotonic() > until)


@job_task(DRAW_LESSONS)
def draw_lessons(runtime: Runtime, claim: Claim) -> dict[str, int]:
    """Draw a lesson from one agent's archived episodes when enough of them wait, and look for the next one."""
    agent_id = claim.job.agent_id or ""
    drawer = LessonDrawer(runtime.store, runtime.episode_archive, runtime.memory, runtime.summarizer)
    drawn = drawer.draw(agent_id)
    if drawn:
        runtime.jobs.submit(DRAW_LESSONS, agent_id=agent_id, coalesce_key=f"now:{agent_id}")
    return {"episodes": drawn}
