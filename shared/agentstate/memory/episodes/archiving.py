"""Archiving: workers take what agents recorded to the archive, and give Redis what it missed while it was away.

Nothing leaves Redis before the archive has it; taking the same episode twice changes nothing. What an agent did before
it was forgotten is taken no more, wherever it was held meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agentstate.jobs import Jobs
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.episodes.lessons import WAITS_AT_MOST
from agentstate.memory.episodes.recent import Limits, RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore, limits_of
from agentstate.memory.facts.tombstones import Tombstone
from agentstate.settings import Settings

DRAW_LESSONS = "summarization.draw_lessons"
SLICE = 500
AGENTS = 200
LATER_S = WAITS_AT_MOST.total_seconds() + 60


class EpisodeArchiver:
    """Archives the episodes of all agents. Any number of workers may run it at once.

    Args:
        recent: Redis.
        archive: the archive.
        jobs: told when lessons may be drawn from what was archived; None draws none.
        settings: limits of agents.
    """

    def __init__(self, recent: RecentEpisodes, archive: EpisodeArchive, jobs: Jobs | None, settings: Settings) -> None:
        self._recent = recent
        self._archive = archive
        self._jobs = jobs
        self._settings = settings

    def run(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Visit all agents that may have something to archive or to be given back; return how many episodes moved.

        Args:
            stopping: asked after each agent; the next run goes on.

        Raises:
            RedisUnavailable, StoreUnavailable: nothing is lost; the next run goes on.
        """
        done = 0
        for agent_id in self._archive.returning(AGENTS):
            done += self.give_back(agent_id)
        for agent_id, stone in self._agents():
            if stopping():
                break
            done += self._take(agent_id, stone)
        return done

    def _take(self, agent_id: str, stone: Tombstone | None) -> int:
        """Archive what one agent recorded; return how many."""
        done, life = 0, 0
        if stone is not None:
            life = stone.life
            self._recent.forget(stone, late=True)
        while True:
            waiting = self._recent.pending(agent_id, SLICE)
            found = [each.episode for each in waiting if each.episode is not None]
            added = self._archive.take(agent_id, found, life) if waiting else 0
            if added is None:
                return done  # forgotten just now: the next run takes what the agent does since
            done += added
            self._recent.archived(agent_id, waiting)
            if len(waiting) < SLICE:
                break
        if done:
            self._announce(agent_id)
        else:
            self._recent.visited(agent_id)
        return done

    def give_back(self, agent_id: str) -> int:
        """Give Redis what one agent recorded while it was away; return how many."""
        life = self._archive.life(agent_id)
        found = self._archive.to_return(agent_id, SLICE)
        if found:
            limits = limits_of(self._settings, agent_id)
            answers = self._recent.record_many(found, limits, 0, life=life)
            for episode in found:
                self._bring_up(episode, limits)
            self._archive.returned(found)
            if any(first for _, first in answers):
                EpisodicStore(self._recent, agent_id, self._settings, archive=self._archive).restore()
        return len(found)

    def _bring_up(self, episode: Episode, limits: Limits) -> None:
        """Let Redis have this revision, if it has an older one."""
        known = self._recent.get(episode.agent_id, episode.id, episode.at_us) if episode.revision else None
        if known is not None and known.revision < episode.revision:
            self._recent.replace(known, episode, limits)

    def _agents(self) -> Iterator[tuple[str, Tombstone | None]]:
        """Agents to visit, each with the tombstone that it had before anything of it was read."""
        first = 0
        while agents := self._recent.visits(first, AGENTS):
            stones = self._archive.tombstones(agents)
            yield from ((agent_id, stones.get(agent_id)) for agent_id in agents)
            first += len(agents)

    def _announce(self, agent_id: str) -> None:
        """Let lessons be drawn now if there is enough, and else when the episodes have waited for a day."""
        if self._jobs is not None:
            self._jobs.submit(DRAW_LESSONS, agent_id=agent_id, coalesce_key=f"now:{agent_id}")
            self._jobs.submit(DRAW_LESSONS, agent_id=agent_id, coalesce_key=f"later:{agent_id}", due_in=LATER_S)
