"""Ingesting transcripts: every turn once, as a turn of its conversation and as a memory that is searched.

A batch is one transaction, turns and memories together, so a run that is killed has stored whole batches and the next
one finds them. No state is kept between runs: stored turns are recognized by their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from agentstate.jobs import Jobs
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.history import summarize_when_long
from agentstate.memory.conversation.turns import Appended
from agentstate.memory.facts.records import TURN, NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.ingest.transcripts import Parsed, Problem, TranscriptTurn
from agentstate.settings import Settings
from agentstate.store.store import Store

BATCH = 500


@dataclass(kw_only=True)
class IngestReport:
    """The outcome of ingesting a transcript so far."""

    read: int = 0
    """Turns found in it, the refused ones included."""
    stored: int = 0
    already: int = 0
    """Turns that were stored before."""
    forgotten: int = 0
    """Of these, turns that were forgotten since: they stay in their conversation, and recall does not give them."""
    refused: list[Problem] = field(default_factory=list)


class Ingest:
    """Stores the turns of transcripts. May run in several processes at once, also over the same file."""

    def __init__(self, store: Store, jobs: Jobs, memory: MemoryService, settings: Settings) -> None:
        self._store = store
        self._jobs = jobs
        self._memory = memory
        self._settings = settings

    def store_turns(
        self, turns: Iterable[Parsed], progress: Callable[[IngestReport], None] = lambda _report: None
    ) -> IngestReport:
        """Store all of `turns` that are valid; `progress` is called after each batch, which is durable then.

        Raises:
            StoreUnavailable: the durable store does not answer; the batches before are stored, run it again.
        """
        report = IngestReport()
        source = iter(turns)
        while batch := list(islice(source, BATCH)):
            report.read += len(batch)
            report.refused += [item for item in batch if isinstance(item, Problem)]
            by_conversation: dict[tuple[str, str], list[TranscriptTurn]] = {}
            for item in batch:
                if isinstance(item, TranscriptTurn):
                    by_conversation.setdefault((item.agent_id, item.session), []).append(item)
            fates: list[tuple[TranscriptTurn, Appended]] = []
            with self._store.transaction() as tx:
                # In one order everywhere, so that two runs cannot wait for each other.
                for (agent_id, session), items in sorted(by_conversation.items()):
                    appended, now = rows.append_turns(
                        tx, rows.lock_conversation(tx, agent_id, session), [item.turn for item in items]
                    )
                    summarize_when_long(tx, self._jobs, self._settings, now)
                    fates += zip(items, appended, strict=True)
                turns_to_find = [
                    NewMemory(
                        agent_id=item.agent_id,
                        content=item.turn.text,
                        kind=TURN,
                        metadata=item.metadata,
                        source=item.turn.source_id,
                        at=item.turn.at,
                        session=item.session,
                        speaker=item.turn.speaker,
                        turn=fate.number,
                    )
                    for item, fate in fates
                    if fate.same_text
                ]
                receipts = self._memory.remember_many(turns_to_find, tx=tx, revive=False)
            report.forgotten += sum(receipt.outcome == "forgotten" for receipt in receipts)
            for item, fate in fates:
                if not fate.same_text:
                    reason = f"the id {item.turn.source_id!r} was stored before with another text, which stays."
                    where = f"{item.agent_id}, {item.session}"
                    report.refused.append(Problem(line=item.line, where=where, reason=reason))
                elif fate.created:
                    report.stored += 1
                else:
                    report.already += 1
            progress(report)
        return report
