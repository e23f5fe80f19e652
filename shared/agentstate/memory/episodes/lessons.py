"""Lessons: one memory that summarizes many episodes and names them.

The summarizer of conversations writes the text, so the same rule holds: no figure that the episodes lack.
"""

from __future__ import annotations

from agentstate.clock import Clock, utc_now
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.lesson_jobs import ENOUGH, LONGEST_WAIT
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.providers.summaries.summarizer import SourceTurn, Summarizer, SummaryRequest
from agentstate.providers.usage import cost_nano_usd
from agentstate.state import codec
from agentstate.store.store import Store

MOST_TOGETHER = 200
LINKS = 200
LONGEST_LINE = 400
LESSON = "lesson"


class LessonDrawer:
    """Draws lessons.

    Args:
        store: the durable store.
        archive: the episodes.
        memory: semantic memory, which lessons go to.
        summarizer: writes them.
        clock: present time, UTC.
    """

    def __init__(
        self,
        store: Store,
        archive: EpisodeArchive,
        memory: MemoryService,
        summarizer: Summarizer,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._archive = archive
        self._memory = memory
        self._summarizer = summarizer
        self._clock = clock

    def draw_lesson(self, agent_id: str) -> int:
        """Draw one lesson if enough episodes wait, or one has waited for long; return how many it rests on, else 0.

        Raises:
            ProviderError: the summarizer failed; the episodes wait on.
        """
        undrawn = self._archive.read_undrawn(agent_id, MOST_TOGETHER)
        found = undrawn.episodes
        if not found:
            return 0
        if len(found) < ENOUGH and self._clock() - min(episode.at for episode in found) <= LONGEST_WAIT:
            return 0
        turns = []
        for number, episode in enumerate(sorted(found, key=lambda each: each.at_us), 1):
            outcome = f" -> {_as_words(episode.outcome)}" if episode.outcome is not None else ""
            text = f"{episode.event_type}: {_as_words(episode.payload)}{outcome}"[:LONGEST_LINE]
            turns.append(SourceTurn(number=number, role="user", speaker=episode.event_type, text=text, at=episode.at))
        summary = self._summarizer.summarize(SummaryRequest(turns=tuple(turns)))

        times = [episode.at for episode in found]
        metadata: dict[str, object] = {
            "episodes": [str(episode.id) for episode in found[:LINKS]],
            "from": min(times).isoformat(),
            "to": max(times).isoformat(),
            "method": summary.method,
            "model": summary.model,
        }
        if summary.calls:
            model = self._summarizer.name.partition(":")[2]
            metadata |= {
                "calls": summary.calls,
                "input_tokens": summary.input_tokens,
                "output_tokens": summary.output_tokens,
                "cost_nano_usd": cost_nano_usd(model, summary.input_tokens, summary.output_tokens),
            }
        lesson = NewMemory(
            agent_id=agent_id,
            content=summary.text,
            kind=LESSON,
            metadata=metadata,
            source=f"episodes:{found[0].id}",
            at=max(times),
        )
        with self._store.transaction() as tx:
            if not self._archive.mark_drawn(tx, agent_id, undrawn):
                return 0  # another worker was faster
            self._memory.remember_many([lesson], tx=tx, revive=False)
        return len(found)


def _as_words(value: object) -> str:
    """Return a value as a reader would write it: `amount 2.50, won no`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_as_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return codec.storable_text(str(value), LONGEST_LINE)
