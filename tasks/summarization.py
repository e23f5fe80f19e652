"""Summarization: the older turns of a long conversation become its summary, and episodes become lessons."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agentstate.jobs import Claim
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.episodes.lesson_jobs import DRAW_LESSONS, RECORDS_ON_S
from agentstate.memory.episodes.lessons import LessonDrawer
from agentstate.runtime import Runtime
from tasks.app import job_task


@job_task("summarization.summarize_conversation")
def summarize_conversation(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Summarize one conversation until few of its turns are open."""
    summarizer = ConversationSummarizer(runtime.store, runtime.summarizer, runtime.settings)
    last_try = claim.job.attempts >= claim.job.max_attempts
    return asdict(summarizer.run(claim.payload.conversation_id, job_id=claim.job.id, last_try=last_try))


@job_task(DRAW_LESSONS)
def draw_lessons(runtime: Runtime, claim: Claim) -> dict[str, int]:
    """Draw a lesson from one agent's episodes when enough of them wait, and look again when more do or may come."""
    agent_id = claim.job.agent_id or ""
    drawer = LessonDrawer(runtime.store, runtime.episode_archive, runtime.memory, runtime.summarizer)
    drawn = drawer.draw_lesson(agent_id)
    if drawn:
        runtime.lesson_jobs.submit_now(agent_id)
    archive = runtime.episode_archive
    if archive.has_recorded_since(agent_id, RECORDS_ON_S) or archive.read_undrawn(agent_id, 1).episodes:
        runtime.lesson_jobs.submit_later(agent_id)
    return {"episodes": drawn}
