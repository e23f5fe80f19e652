"""Summarization: the older turns of a long conversation become its summary."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agentstate.jobs import Claim
from agentstate.memory.summarization import ConversationSummarizer
from agentstate.runtime import Runtime
from tasks.shell import job_task


@job_task("summarization.summarize_conversation")
def summarize_conversation(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Summarize one conversation until few of its turns are open."""
    summarizer = ConversationSummarizer(runtime.store, runtime.summarizer, runtime.settings)
    return asdict(summarizer.run(claim.payload.conversation_id))
