"""An agent that is forgotten loses its episodes everywhere, nobody brings them back, and its new life is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from agentstate.errors import NotFound
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.archiving import EpisodeArchiver
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.episodes.lessons import ENOUGH, LessonDrawer
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.memory.facts.forget import ForgetReceipt, Forgetting
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.summarizer import Summary, SummaryRequest
from agentstate.store.tables import episode_returns, episode_tombstones, memories
from agentstate.store.tables import episodes as table
from agentstate.store.upsert import insert_new
from tests.integration.memory.conftest import World

START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Past:
    """What agents did, in Redis and in the archive, and who forgets it."""

    world: World
    recent: RecentEpisodes
    archive: EpisodeArchive

    @property
    def archiver(self) -> EpisodeArchiver:
        return EpisodeArchiver(self.recent, self.archive, self.world.jobs, self.world.settings)

    @property
    def forgetting(self) -> Forgetting:
        return Forgetting(self.world.store, self.world.jobs, self.world.index, lambda: self.recent)

    def of(self, agent_id: str) -> EpisodicStore:
        return EpisodicStore(self.recent, agent_id, self.world.settings, archive=self.archive)

    def did(self, *numbers: int, agent_id: str = "ag_7") -> list[Episode]:
        return [self.of(agent_id).record("bet", {"n": n}) for n in numbers]

    def numbers(self, agent_id: str = "ag_7") -> tuple[list[int], list[int]]:
        """What Redis and what the archive knows of an agent."""
        found = self.recent.recent(agent_id, 1_000) or [], self.archive.recent(agent_id, 1_000)
        return tuple(sorted(each.payload["n"] for each in part) for part in found)  # type: ignore[return-value]

    def forget(self) -> ForgetReceipt:
        return self.forgetting.forget_agent("ag_7")


@pytest.fixture
def past(world: World, redis_url: str) -> Iterator[Past]:
    with redis.Redis.from_url(redis_url) as client:
        yield Past(world, RecentEpisodes(client, archived=True), EpisodeArchive(world.store))


def between(
    patch: pytest.MonkeyPatch, holder: type, name: str, happens: Callable[[], object], *, only: bool = True
) -> None:
    """Let something happen just after `name` has answered, once."""
    real, done = getattr(holder, name), threading.Event()

    def answer(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        if (found or not only) and not done.is_set():
            done.set()
            happens()
        return found

    patch.setattr(holder, name, answer)


def test_all_episodes_of_the_agent_go_and_the_receipt_tells_where(past: Past) -> None:
    for agent_id in ("ag_7", "ag_8"):
        past.did(1, 2, agent_id=agent_id)
    past.of("ag_7").update_outcome(past.did(3)[0], {"won": True})
    past.archiver.run()
    past.did(4)
    receipt = past.forget()
    assert receipt.complete
    removed = {erased.store: erased.removed for erased in receipt.stores}
    assert (removed["episodes"], removed["recent episodes"], receipt.kept) == (3, 4, {})
    assert past.archiver.run() == 0
    assert (past.numbers("ag_7"), past.numbers("ag_8")) == (([], []), ([1, 2], [1, 2]))
    assert past.of("ag_7").summarize_window(START)["total_events"] == 0
    with past.world.store.read_connection() as connection:
        [stone] = connection.execute(sa.select(episode_tombstones)).all()
    assert (stone.agent_id, stone.life, stone.removed) == ("ag_7", 1, 3)


def test_a_new_life_is_kept_as_the_first_was(past: Past) -> None:
    for life in range(3):
        past.did(*range(life, life + 20))
        past.archiver.run()
        past.did(100)
        assert past.forget().complete
        assert past.numbers() == ([], [])
    past.did(7, 8)
    assert past.archiver.run() == 2
    assert past.numbers() == ([7, 8], [7, 8])
    past.recent._client.flushdb()
    assert past.did(9)[0].kept
    assert past.archiver.run() == 1
    assert past.numbers() == ([7, 8, 9], [7, 8, 9])


def forgotten_while_archived(past: Past, patch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    past.did(1, 2)
    between(patch, RecentEpisodes, "pending", past.forget)
    past.archiver.run()
    past.did(3)
    past.archiver.run()
    return past.numbers()


def test_a_worker_that_holds_episodes_brings_none_back(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forgotten_while_archived(past, monkeypatch) == ([3], [3])


def test_a_worker_that_does_not_look_at_the_tombstone_is_caught(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(archive: EpisodeArchive, _agent_id: str, found: list[Episode], _life: int) -> int:
        with past.world.store.transaction() as tx:
            return archive.add(found, tx=tx)

    monkeypatch.setattr(EpisodeArchive, "take", take)
    assert forgotten_while_archived(past, monkeypatch)[1] == [1, 2, 3]


@pytest.mark.parametrize("way", ["restore", "give back"])
def test_what_was_read_to_be_given_to_redis_is_refused(past: Past, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    past.did(1, 2)
    past.archiver.run()
    past.recent._client.flushdb()
    if way == "restore":
        between(monkeypatch, EpisodeArchive, "recent", past.forget)
        assert past.of("ag_7").get_recent() == []
    else:
        with past.world.store.transaction() as tx:
            known = past.archive.recent("ag_7", 10)
            insert_new(tx, episode_returns, [{"agent_id": "ag_7", "id": each.id} for each in known])
        between(monkeypatch, EpisodeArchive, "to_return", past.forget)
        past.archiver.run()
    assert past.numbers() == ([], [])
    assert past.archive.returning(1) == []


def test_an_outcome_that_comes_late_brings_its_episode_not_back(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    [bet] = past.did(1)
    past.archiver.run()
    past.recent._client.flushdb()
    between(monkeypatch, EpisodeArchive, "get", past.forget)
    with pytest.raises(NotFound):
        past.of("ag_7").update_outcome(bet, {"won": True})
    assert past.numbers() == ([], [])


def test_no_lesson_is_drawn_from_what_was_forgotten(past: Past) -> None:
    class Slow(DigestSummarizer):
        """Meanwhile somebody forgets the agent."""

        def summarize(self, request: SummaryRequest) -> Summary:
            past.forget()
            return super().summarize(request)

    def draw(summarizer: DigestSummarizer) -> int:
        return LessonDrawer(past.world.store, past.archive, past.world.memory, summarizer).draw("ag_7")

    for summarizer, drawn in ((Slow(), 0), (DigestSummarizer(), ENOUGH)):
        past.did(*range(ENOUGH))
        past.archiver.run()
        assert draw(summarizer) == drawn
    assert draw(DigestSummarizer()) == 0
    with past.world.store.read_connection() as connection:
        assert len(connection.execute(sa.select(memories.c.id)).all()) == 1
    past.forget()
    assert past.world.memory.of("ag_7").recall("bet") == []


def test_a_redis_that_was_away_gives_back_nothing_of_before(past: Past) -> None:
    past.did(1)
    past.archiver.run()
    past.did(2)
    with redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as nowhere:
        away = Past(past.world, RecentEpisodes(nowhere, archived=True), past.archive)
        receipt = away.forget()
        missed = away.did(3)
    told = {erased.store: erased for erased in receipt.stores}["recent episodes"]
    assert (receipt.complete, told.left, "A job removes them" in str(told.note)) == (False, None, True)
    assert missed[0].degraded
    past.did(4)
    assert past.forgetting.erase_late("ag_7") == 2
    assert past.forgetting.erase_late("ag_7") == 0
    past.archiver.run()
    assert past.numbers() == ([3, 4], [3, 4])


def test_the_archiver_alone_removes_what_a_redis_that_was_away_had(past: Past) -> None:
    past.did(1, 2)
    with redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as nowhere:
        Past(past.world, RecentEpisodes(nowhere, archived=True), past.archive).forget()
    past.did(3)
    assert past.archiver.run() == 1
    assert past.numbers() == ([3], [3])


def test_what_was_pushed_out_and_waits_is_forgotten_too(past: Past) -> None:
    limits: Any = {"ag_7": {"kept": 16, "ttl_s": 3_600}}
    past.world.settings = past.world.settings.model_copy(update={"episodes_limits": limits})
    past.did(*range(40))
    removed = {erased.store: erased.removed for erased in past.forget().stores}
    assert removed["recent episodes"] == 40
    past.did(1)
    assert past.archiver.run() == 1
    keys = {key.decode().rpartition(":")[2] for key in past.recent._client.keys("as:{ag_7}:*")}
    assert keys == {"all", "types", "arrived", "bet"}
    assert all(past.recent._client.ttl(key) > 0 for key in past.recent._client.keys("as:*"))


def test_only_what_a_tombstone_covers_may_be_removed(past: Past) -> None:
    past.did(1)
    past.archiver.run()
    past.forget()
    past.did(2)
    past.archiver.run()
    for rewriting in (
        "DELETE FROM episodes",
        "UPDATE episodes SET revision = 9",
        "DELETE FROM episode_tombstones",
        "UPDATE episode_tombstones SET to_seq = 1000",
    ):
        with pytest.raises(DatabaseError, match="append-only"), past.world.store.transaction() as tx:
            tx.connection.execute(sa.text(rewriting))
    assert past.numbers()[1] == [2]


def test_workers_and_forgetters_at_once_leave_no_half(past: Past) -> None:
    """After a forgetting no episode of before is anywhere, whoever archived or changed it meanwhile."""
    over = threading.Event()

    def until_over(step: Callable[[], object]) -> None:
        while not over.is_set():
            step()

    def change() -> None:
        with suppress(NotFound):
            for each in past.of("ag_7").get_recent(3):
                past.of("ag_7").update_outcome(each, {"n": 1})

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(until_over, step) for step in (past.archiver.run, past.archiver.run, change)]
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
    past.archiver.run()
    assert past.numbers() == ([500], [500])
    assert past.of("ag_7").summarize_window(START - timedelta(days=1))["total_events"] == 1
    with past.world.store.read_connection() as connection:
        # With each outcome that it was given a row more.
        assert len(connection.execute(sa.select(table.c.id).distinct()).all()) == 1
