"""Taking transcripts in: every turn once, as a turn of its conversation and as a memory that is searched.

A batch is one transaction, turns and memories together, so a run that is killed has stored whole batches and the next
one finds them. Nothing is remembered between runs: what is there already is seen by the turns' ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from agentstate.jobs import Jobs
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.history import summarize_when_long
from agentstate.memory.conversation.turns import Appended
from agentstate.memory.facts.records import TURN, NewMemory
from agentstate.memory.facts.service import SemanticMemory
from agentstate.memory.ingest.transcripts import Parsed, Problem, TranscriptTurn
from agentstate.settings import Settings
from agentstate.store.store import Store, Transaction

BATCH = 500


@dataclass(kw_only=True)
class IngestReport:
    """What became of a transcript so far."""

    read: int = 0
    """Turns found in it, the refused ones included."""
    stored: int = 0
    already: int = 0
    """Turns that were there from before."""
    refused: list[Problem] = field(default_factory=list)


class Ingest:
    """Stores the turns of transcripts. May run in several processes at once, also over the same file."""

    def __init__(self, store: Store, jobs: Jobs, memory: SemanticMemory, settings: Settings) -> None:
        self._store = store
        self._jobs = jobs
        self._memory = memory
        self._settings = settings

    def store_turns(
        self, turns: Iterable[Parsed], progress: Callable[[IngestReport], None] = lambda _report: None
    ) -> IngestReport:
        """Store all of `turns` that can be stored; `progress` is told after each batch, which is durable then.

        Raises:
            StoreUnavailable: the durable store does not answer; the batches before are stored, run it again.
        """
        report = IngestReport()
        source = iter(turns)
        while batch := list(islice(source, BATCH)):
            report.read += len(batch)
            report.refused += [item for item in batch if isinstance(item, Problem)]
            self._store_batch([item for item in batch if isinstance(item, TranscriptTurn)], report)
            progress(report)
        return report

    def _store_batch(self, batch: Sequence[TranscriptTurn], report: IngestReport) -> None:
        by_conversation: dict[tuple[str, str], list[TranscriptTurn]] = {}
        for item in batch:
            by_conversation.setdefault((item.agent_id, item.session), []).append(item)
        fates: list[tuple[TranscriptTurn, Appended]] = []
        with self._store.transaction() as tx:
            # In one order everywhere, so that two runs cannot wait for each other.
            for agent_id, session in sorted(by_conversation):
                fates += self._append(tx, agent_id, session, by_conversation[agent_id, session])
            self._memory.remember_many([_memory(item, fate) for item, fate in fates if fate.same], tx=tx)
        for item, fate in fates:
            self._count(item, fate, report)

    def _append(
        self, tx: Transaction, agent_id: str, session: str, items: Sequence[TranscriptTurn]
    ) -> list[tuple[TranscriptTurn, Appended]]:
        fates, now = rows.append(tx, rows.lock(tx, agent_id, session), [item.turn for item in items])
        summarize_when_long(tx, self._jobs, self._settings, now)
        return list(zip(items, fates, strict=True))

    def _count(self, item: TranscriptTurn, fate: Appended, report: IngestReport) -> None:
        if not fate.same:
            reason = f"the id {item.turn.source_id!r} was stored before with another text, which stays."
            report.refused.append(Problem(line=item.line, where=f"{item.agent_id}, {item.session}", reason=reason))
        elif fate.created:
            report.stored += 1
        else:
            report.already += 1


def _memory(item: TranscriptTurn, fate: Appended) -> NewMemory:
    return NewMemory(
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
