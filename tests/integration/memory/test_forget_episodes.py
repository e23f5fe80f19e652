"""An agent that is forgotten loses its episodes everywhere, nobody brings them back, and what follows is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from agentstate.errors import NotFound
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.episodes.lesson_jobs import ENOUGH
from agentstate.memory.episodes.lessons import LessonDrawer
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.memory.facts.forget import ForgetReceipt, Forgetting
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.summarizer import Summary, SummaryRequest
from agentstate.store.tables import episode_tombstones, memories
from agentstate.store.tables import episodes as table
from tests.worlds.episodes import COPY, between
from tests.worlds.memories import World

START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Past:
    """What agents did, in the store and in Redis, and who forgets it."""

    world: World
    client: redis.Redis
    recent: RecentEpisodes
    archive: EpisodeArchive

    @property
    def forgetting(self) -> Forgetting:
        return Forgetting(self.world.store, self.world.jobs, self.world.index, lambda: self.recent)

    def of(self, agent_id: str = "ag_7") -> EpisodicStore:
        return EpisodicStore(self.archive, agent_id, self.world.settings, recent=self.recent)

    def did(self, *numbers: int, agent_id: str = "ag_7") -> list[Episode]:
        return [self.of(agent_id).record("bet", {"n": n}) for n in numbers]

    def numbers(self, agent_id: str = "ag_7") -> tuple[list[int], list[int]]:
        """What Redis and what the store shows of an agent."""
        found = self.of(agent_id).get_recent(500), self.of(agent_id).between(START - timedelta(days=99))
        return tuple(sorted(each.payload["n"] for each in part) for part in found)  # type: ignore[return-value]

    def forget(self) -> ForgetReceipt:
        return self.forgetting.forget_agent("ag_7")


@pytest.fixture
def past(world: World, redis_url: str) -> Iterator[Past]:
    with redis.Redis.from_url(redis_url) as client:
        yield Past(world, client, RecentEpisodes(client), EpisodeArchive(world.store))


@pytest.fixture
def away(past: Past) -> Iterator[Past]:
    """The same in a process that Redis does not answer."""
    with redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as nowhere:
        yield Past(past.world, nowhere, RecentEpisodes(nowhere), past.archive)


def test_all_episodes_of_the_agent_go_and_the_receipt_tells_where(past: Past) -> None:
    for agent_id in ("ag_7", "ag_8"):
        past.did(1, 2, agent_id=agent_id)
    past.of().get_recent()
    past.of().update_outcome(past.did(3)[0], {"won": True})
    past.did(4)
    receipt = past.forget()
    assert receipt.complete
    removed = {erased.store: erased.removed for erased in receipt.stores}
    assert (removed["episodes"], removed["recent episodes"], receipt.kept) == (5, 4, {})
    assert (past.numbers("ag_7"), past.numbers("ag_8")) == (([], []), ([1, 2], [1, 2]))
    assert past.of().summarize_window(START)["total_events"] == past.of().count() == 0
    with past.world.store.read_connection() as connection:
        [stone] = connection.execute(sa.select(episode_tombstones)).all()
    assert (stone.agent_id, stone.number, stone.removed) == ("ag_7", 1, 5)


def test_what_the_agent_does_afterwards_is_kept_as_ever(past: Past) -> None:
    for life in range(3):
        past.did(*range(life, life + 20))
        assert past.numbers()[0] == past.numbers()[1] == list(range(life, life + 20))
        assert past.forget().complete
        assert past.numbers() == ([], [])
    past.did(7, 8)
    assert past.numbers() == ([7, 8], [7, 8])
    past.client.flushdb()
    past.did(9)
    assert past.numbers() == past.numbers() == ([7, 8, 9], [7, 8, 9])


def test_a_reader_that_holds_episodes_brings_none_back(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the store to fill the copy, and the agent is forgotten before it does."""
    past.did(1, 2)
    past.client.flushdb()
    between(monkeypatch, EpisodeArchive, "read_newest", past.forget)
    past.of().get_recent()
    assert not past.client.exists(COPY)
    past.did(3)
    assert past.numbers() == past.numbers() == ([3], [3])


def test_a_writer_that_was_held_up_before_redis_brings_nothing_back(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is committed, the agent is forgotten and the copy made anew; then its push comes."""

    def happens() -> None:
        past.forget()
        past.of().get_recent()

    past.of().get_recent()
    between(monkeypatch, EpisodeArchive, "add_episodes", happens)
    past.did(1)
    assert past.client.exists(COPY)
    assert past.numbers() == ([], [])
    past.did(2)
    assert past.numbers() == ([2], [2])


def test_a_writer_without_that_guard_is_caught(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RecentEpisodes.drop_copy
    monkeypatch.setattr(RecentEpisodes, "drop_copy", lambda self, agent_id, **_given: real(self, agent_id))
    past.of().get_recent()

    def happens() -> None:
        past.forget()
        past.of().get_recent()

    between(monkeypatch, EpisodeArchive, "add_episodes", happens)
    past.did(1)
    assert past.numbers()[0] == [1]


def test_an_outcome_that_comes_late_brings_its_episode_not_back(past: Past) -> None:
    [bet] = past.did(1)
    past.of().get_recent()
    past.forget()
    with pytest.raises(NotFound):
        past.of().update_outcome(bet, {"won": True})
    assert past.numbers() == ([], [])


def test_no_lesson_is_drawn_from_what_was_forgotten(past: Past) -> None:
    class Slow(DigestSummarizer):
        """Meanwhile somebody forgets the agent."""

        def summarize(self, request: SummaryRequest) -> Summary:
            past.forget()
            return super().summarize(request)

    def draw(summarizer: DigestSummarizer) -> int:
        return LessonDrawer(past.world.store, past.archive, past.world.memory, summarizer).draw_lesson("ag_7")

    for summarizer, drawn in ((Slow(), 0), (DigestSummarizer(), ENOUGH)):
        past.did(*range(ENOUGH))
        assert draw(summarizer) == drawn
    assert draw(DigestSummarizer()) == 0
    with past.world.store.read_connection() as connection:
        assert len(connection.execute(sa.select(memories.c.id)).all()) == 1
    past.forget()
    assert past.world.memory.of("ag_7").recall("bet") == []


def test_a_redis_that_was_away_shows_nothing_of_before_once_the_job_has_run(past: Past, away: Past) -> None:
    past.did(1, 2)
    past.of().get_recent()
    receipt = away.forget()
    told = {erased.store: erased for erased in receipt.stores}["recent episodes"]
    assert (receipt.complete, told.left, "A job removes them" in str(told.note)) == (False, None, True)
    assert away.numbers() == ([], [])
    away.did(3)
    past.did(4)
    assert past.forgetting.erase_late("ag_7") == 3  # the whole copy: the two of before, and the one since
    assert past.forgetting.erase_late("ag_7") == 0
    assert past.numbers() == away.numbers() == ([3, 4], [3, 4])


def test_a_copy_that_still_shows_the_forgotten_is_told(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.did(1, 2)
    past.of().get_recent()
    monkeypatch.setattr(RecentEpisodes, "drop_copy", lambda *_given, **_named: 0)
    receipt = past.forget()
    assert {erased.store: erased.left for erased in receipt.stores}["recent episodes"] == 2
    assert not receipt.complete


def test_every_key_that_forgetting_leaves_ends_by_itself(past: Past) -> None:
    past.did(*range(40))
    past.of().get_recent()
    removed = {erased.store: erased.removed for erased in past.forget().stores}
    assert (removed["episodes"], removed["recent episodes"]) == (40, 40)
    past.did(1)
    assert past.numbers() == ([1], [1])
    keys = {key.decode().rpartition(":")[2] for key in past.client.keys("as:{ag_7}:*")}
    assert keys == {"recent", "generation", "forgotten"}
    assert all(past.client.ttl(key) > 0 for key in past.client.keys("as:*"))


def test_only_what_a_tombstone_covers_may_be_removed(past: Past) -> None:
    past.did(1)
    past.forget()
    past.did(2)
    for rewriting in (
        "DELETE FROM episodes",
        "UPDATE episodes SET revision = 9",
        "DELETE FROM episode_tombstones",
        "UPDATE episode_tombstones SET to_seq = 1000",
    ):
        with pytest.raises(DatabaseError, match="append-only"), past.world.store.transaction() as tx:
            tx.connection.execute(sa.text(rewriting))
    assert past.numbers()[1] == [2]


def test_readers_writers_and_forgetters_at_once_leave_no_half(past: Past) -> None:
    """After a forgetting no episode of before is anywhere, whoever read or changed it meanwhile."""
    over = threading.Event()

    def until_over(step: Callable[[], object]) -> None:
        while not over.is_set():
            step()

    def change() -> None:
        with suppress(NotFound):
            for each in past.of().get_recent(3):
                past.of().update_outcome(each, {"n": 1})

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(until_over, step) for step in (past.of().get_recent, past.of().get_recent, change)]
        try:
            for life in range(6):
                past.did(*range(life * 10, life * 10 + 10))
                assert past.forget().complete
                assert past.numbers() == ([], []), life
            past.did(500)
        finally:
            over.set()
        for each in working:
            each.result()
    assert past.numbers() == ([500], [500])
    assert past.of().summarize_window(START - timedelta(days=1))["total_events"] == 1
    with past.world.store.read_connection() as connection:
        # With each outcome that it was given a row more.
        assert len(connection.execute(sa.select(table.c.id).distinct()).all()) == 1
