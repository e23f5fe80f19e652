"""Summarization: the older turns of a long conversation become its summary."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agentstate.jobs import Claim
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.runtime import Runtime
from tasks.shell import job_task


@job_task("summarization.summarize_conversation")
def summarize_conversation(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Summarize one conversation until few of its turns are open."""
    summarizer = ConversationSummarizer(runtime.store, runtime.summarizer, runtime.settings)
    last_try = claim.job.attempts >= claim.job.max_attempts
    return asdict(summarizer.run(claim.payload.conversation_id, job_id=claim.job.id, last_try=last_try))
