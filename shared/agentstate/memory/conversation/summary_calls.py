"""Calls of summary models: each answer is stored with its cost before it is used.

A worker that is killed after the paid call finds the answer when it, or another, asks the same again. What was paid
before a failure is counted too. Where the provider fails for good, the digest, which needs none, takes its place.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import sqlalchemy as sa

from agentstate.errors import ProviderError, ProviderRefused
from agentstate.ids import new_id
from agentstate.memory.conversation.turns import Conversation
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.prompt import PROMPT_VERSION
from agentstate.providers.summaries.summarizer import Fact, Summarizer, Summary, SummaryRequest
from agentstate.providers.usage import cost_nano_usd
from agentstate.store.store import Store
from agentstate.store.tables import summary_calls
from agentstate.store.upsert import insert_new

_log = logging.getLogger(__name__)


class SummaryCalls:
    """Caller of one summarizer that stores each answer durably."""

    def __init__(self, store: Store, summarizer: Summarizer) -> None:
        self._store = store
        self._summarizer = summarizer
        self._fallback = DigestSummarizer()

    def summarize_once(
        self, conversation: Conversation, request: SummaryRequest, source_sha: bytes, *, last_try: bool
    ) -> Summary:
        """Return the summary of `request`: the stored one if it was made before, else a new one.

        Raises:
            ProviderError: the provider failed, and this is not the last try.
        """
        query = sa.select(summary_calls.c.summary).where(
            summary_calls.c.conversation_id == conversation.id,
            summary_calls.c.source_sha == source_sha,
            summary_calls.c.asked == self._summarizer.name,
            summary_calls.c.prompt_version == PROMPT_VERSION,
        )
        with self._store.read_connection() as connection:
            known = connection.execute(query).scalar_one_or_none()
        if known:
            facts = tuple(Fact(**{**fact, "turns": tuple(fact["turns"])}) for fact in known["facts"])
            return Summary(**{**known, "facts": facts})
        try:
            summary = self._summarizer.summarize(request)
        except ProviderError as error:
            self._store_call(conversation, source_sha, None, error)
            if not last_try and not isinstance(error, ProviderRefused):
                raise
            _log.warning("summarizer %s failed, using extractive digest: %s", self._summarizer.name, error.message)
            return replace(
                self._fallback.summarize(request),
                calls=error.calls,
                input_tokens=error.input_tokens,
                output_tokens=error.output_tokens,
                note=f"{self._summarizer.name} was not used: {error.message}",
            )
        self._store_call(conversation, source_sha, summary, summary)
        return summary

    def _store_call(
        self, conversation: Conversation, source_sha: bytes, summary: Summary | None, paid: Summary | ProviderError
    ) -> None:
        """Store the answer to a request, if any, and add its cost to that of earlier attempts."""
        if not paid.calls:
            return
        which = {
            "conversation_id": conversation.id,
            "source_sha": source_sha,
            "asked": self._summarizer.name,
            "prompt_version": PROMPT_VERSION,
        }
        spent = {
            "calls": paid.calls,
            "input_tokens": paid.input_tokens,
            "output_tokens": paid.output_tokens,
            "cost_nano_usd": cost_nano_usd(
                self._summarizer.name.partition(":")[2], paid.input_tokens, paid.output_tokens
            ),
        }
        answer = {"summary": asdict(summary)} if summary else {}
        row = {"id": new_id(), "agent_id": conversation.agent_id, "summary": {}, **which, **spent, **answer}
        with self._store.transaction() as tx:
            if insert_new(tx, summary_calls, [row]):
                return
            more = {name: summary_calls.c[name] + number for name, number in spent.items()}
            same = [summary_calls.c[name] == value for name, value in which.items()]
            tx.connection.execute(summary_calls.update().where(*same).values(more | answer))
