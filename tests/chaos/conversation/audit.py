"""The audit: where every turn is, whether every message list is valid, and whether every figure has a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.turns import StoredSummary
from agentstate.providers.summaries.evidence import Evidence
from agentstate.providers.summaries.summarizer import Source, SummaryRequest
from agentstate.store.store import Store
from agentstate.store.tables import summaries
from tests.stubs.llm.rules import refused_by_anthropic, refused_by_openai

BUDGET = 1_400
"""Room for a summary and for as many open turns as wait for none."""


@dataclass
class Audit:
    """What was found in all conversations."""

    turns: int = 0
    covered: int = 0
    lost: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    summaries: int = 0
    extractive: int = 0

    def look(self, store: Store, history: ConversationHistory) -> None:
        account = history.account_turns(BUDGET)
        self.turns += account.turns
        self.covered += len(account.covered)
        self.lost += [f"{history.session}: turn {number}" for number in lost(history)]
        for form, refuses in (("anthropic", refused_by_anthropic), ("openai", refused_by_openai)):
            why = refuses({"messages": list(history.messages(BUDGET, form=form))})  # type: ignore[arg-type]
            self.refused += [f"{history.session}: {why}"] if why else []
        for summary, figures in without_source(store, history):
            self.summaries += 1
            self.extractive += summary.method == "extractive"
            self.unsupported += [f"{history.session}, summary {summary.number}: {figure}" for figure in figures]


def lost(history: ConversationHistory) -> list[int]:
    """Turns that are nowhere, looked at again if there are some: a summary may come about between two looks."""
    for _ in range(5):
        if not (missing := history.account_turns(BUDGET).turns_lost):
            return []
    return missing


def without_source(store: Store, history: ConversationHistory) -> Iterator[tuple[StoredSummary, list[str]]]:
    """Each summary with its figures that neither its turns nor the summary before it have."""
    with store.read_connection() as connection:
        newest = connection.execute(
            sa.select(sa.func.max(summaries.c.number)).where(summaries.c.conversation_id == history.id)
        ).scalar_one()
        chain = [rows.find_summary(connection, history.id, number) for number in range(1, (newest or 0) + 1)]
        before: StoredSummary | None = None
        for summary in filter(None, chain):
            turns = rows.read_turns(connection, history.id, summary.covers_from, summary.covers_to)
            request = SummaryRequest(tuple(turn.as_source() for turn in turns), before.text if before else None)
            facts = "\n".join(fact["text"] for fact in (before.facts if before else ()))
            yield summary, Evidence(f"{Source(request).evidence_text}\n{facts}").find_unsupported(summary.text)
            before = summary
