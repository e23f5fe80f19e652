"""Lessons: archived episodes, many together, become one memory that says what came of them and names them.

The summarizer of conversations writes the text, so the same rule holds: no figure that the episodes lack. Below some
number of episodes nothing is drawn yet; what waits for a day is drawn from however few they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from agentstate.clock import Clock, utc_now
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.providers.models import cost_nano_usd
from agentstate.providers.summaries.summarizer import SourceTurn, Summarizer, Summary, SummaryRequest
from agentstate.state import codec
from agentstate.store.store import Store

ENOUGH = 50
MOST_TOGETHER = 200
WAITS_AT_MOST = timedelta(days=1)
LINKS = 200
LONGEST_LINE = 400
LESSON = "lesson"


class LessonDrawer:
    """Draws lessons.

    Args:
        store: the durable store.
        archive: the episodes.
        memory: where lessons go.
        summarizer: who writes them.
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

    def draw(self, agent_id: str) -> int:
        """Draw one lesson if enough episodes wait; return how many it rests on, 0 when none was drawn.

        Raises:
            ProviderError: the summarizer failed; the episodes wait on.
        """
        undrawn = self._archive.undrawn(agent_id, MOST_TOGETHER)
        if not self._ripe(undrawn.episodes):
            return 0
        summary = self._summarizer.summarize(_request(undrawn.episodes))
        lesson = _lesson(agent_id, undrawn.episodes, self._summarizer.name, summary)
        with self._store.transaction() as tx:
            if not self._archive.drawn(tx, agent_id, undrawn):
                return 0  # another worker was faster
            self._memory.remember_many([lesson], tx=tx)
        return len(undrawn.episodes)

    def _ripe(self, found: Sequence[Episode]) -> bool:
        if len(found) >= ENOUGH:
            return True
        return bool(found) and self._clock() - min(episode.at for episode in found) > WAITS_AT_MOST


def _request(found: Sequence[Episode]) -> SummaryRequest:
    ordered = sorted(found, key=lambda episode: episode.at_us)
    return SummaryRequest(turns=tuple(_turn(number, episode) for number, episode in enumerate(ordered, 1)))


def _turn(number: int, episode: Episode) -> SourceTurn:
    outcome = f" -> {_plain(episode.outcome)}" if episode.outcome is not None else ""
    text = f"{episode.event_type}: {_plain(episode.payload)}{outcome}"
    return SourceTurn(number=number, role="user", speaker=episode.event_type, text=text[:LONGEST_LINE], at=episode.at)


def _plain(value: object) -> str:
    """A value as a reader would write it: `amount 2.50, won no`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return codec.legible(str(value), LONGEST_LINE)


def _paid(asked: str, summary: Summary) -> dict[str, object]:
    """What the provider charged, nothing when none was asked."""
    tokens = summary.input_tokens, summary.output_tokens
    cost = cost_nano_usd(asked.partition(":")[2], *tokens)
    names = ("calls", "input_tokens", "output_tokens", "cost_nano_usd")
    return dict(zip(names, (summary.calls, *tokens, cost), strict=True)) if summary.calls else {}


def _lesson(agent_id: str, found: Sequence[Episode], asked: str, summary: Summary) -> NewMemory:
    times = [episode.at for episode in found]
    metadata = {
        "episodes": [str(episode.id) for episode in found[:LINKS]],
        "from": min(times).isoformat(),
        "to": max(times).isoformat(),
        "method": summary.method,
        "model": summary.model,
    } | _paid(asked, summary)
    source = f"episodes:{found[0].id}"
    return NewMemory(
        agent_id=agent_id, content=summary.text, kind=LESSON, metadata=metadata, source=source, at=max(times)
    )
