"""The archive of episodes: nothing leaves Redis before it is there, and each counts once wherever it lies."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from agentstate.errors import NotFound, RedisUnavailable
from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.memory.episodes import recent as recent_episodes
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.archiving import DRAW_LESSONS, EpisodeArchiver
from agentstate.memory.episodes.lessons import ENOUGH, LessonDrawer
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.memory.facts.service import MemoryService
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.settings import Settings
from agentstate.state.profile import AgentProfile
from agentstate.state.profile_cache import ProfileCache
from agentstate.state.update_stream import UpdateStream
from agentstate.state.updates import StateSync
from agentstate.store import Store
from agentstate.store.tables import episode_returns, memories
from agentstate.store.tables import episodes as table
from tests.stubs.redis_server import redis_server

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def settings() -> Settings:
    return Settings.load(database_url="sqlite:///unused.db", episodes_kept=32)


@pytest.fixture
def archive(store: Store) -> EpisodeArchive:
    return EpisodeArchive(store)


@pytest.fixture
def recent(client: redis.Redis) -> RecentEpisodes:
    return RecentEpisodes(client, archived=True)


@pytest.fixture
def episodes(recent: RecentEpisodes, archive: EpisodeArchive, settings: Settings) -> EpisodicStore:
    return EpisodicStore(recent, "ag_7", settings, archive=archive)


@pytest.fixture
def archiver(recent: RecentEpisodes, archive: EpisodeArchive, settings: Settings) -> EpisodeArchiver:
    return EpisodeArchiver(recent, archive, None, settings)


@pytest.fixture
def remembering(store: Store, settings: Settings) -> MemoryService:
    """Semantic memory for those who only remember: no index, no embedder."""
    return MemoryService(
        store, Jobs(store, NullWakeUpSender(), settings), cast("Any", None), cast("Any", None), settings
    )


@pytest.fixture
def without_redis(archive: EpisodeArchive, settings: Settings) -> Iterator[EpisodicStore]:
    """The same agent in a process that Redis does not answer."""
    with redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as nowhere:
        yield EpisodicStore(RecentEpisodes(nowhere, archived=True), "ag_7", settings, archive=archive)


def archived(store: Store) -> int:
    with store.read_connection() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_what_was_pushed_out_before_a_worker_came_is_archived_too(
    episodes: EpisodicStore, archiver: EpisodeArchiver, store: Store, client: redis.Redis
) -> None:
    for n in range(100):
        episodes.record("tick", {"n": n, "amount": Decimal("0.10")}, at=START + timedelta(seconds=n))
    assert archiver.run() == 100
    assert archiver.run() == 0
    assert archived(store) == 100
    assert not client.exists("as:{ag_7}:episodes:leaving", "as:{ag_7}:episodes:pending")
    found = episodes.range(START, START + timedelta(seconds=50), limit=1_000)
    assert [episode.payload["n"] for episode in found] == list(range(49, -1, -1))
    assert found[0].payload["amount"] == Decimal("0.10")


def test_each_episode_counts_once_wherever_it_lies(episodes: EpisodicStore, archiver: EpisodeArchiver) -> None:
    now = datetime.now(UTC)
    for n in range(40):
        episodes.record("tick", {"n": n}, at=now - timedelta(hours=2, seconds=-n))
    archiver.run()
    for n in range(10):
        episodes.record("bet", {"n": n}, at=now - timedelta(seconds=n))
    window = episodes.summarize_window(now - timedelta(days=1))
    assert (window["total_events"], window["by_type"]) == (50, {"tick": 40, "bet": 10})
    assert window["time_span_hours"] == pytest.approx(2.0)
    assert len(episodes.range(now - timedelta(days=1))) == 50
    archiver.run()
    assert episodes.summarize_window(now - timedelta(days=1)) == window
    assert len(episodes.range(now - timedelta(days=1), event_type="bet", limit=5)) == 5


def test_two_archivers_at_once_archive_each_once(
    episodes: EpisodicStore, recent: RecentEpisodes, archive: EpisodeArchive, store: Store
) -> None:
    episodes.record_many([("bet", {"n": n}, None, None) for n in range(20)])
    first, second = recent.pending("ag_7", 100), recent.pending("ag_7", 100)
    for pending in (first, second):
        archive.add([each.episode for each in pending if each.episode is not None])
        recent.archived("ag_7", pending)
    assert archived(store) == 20
    assert recent.pending("ag_7", 100) == []


def test_an_outcome_is_archived_with_every_change(
    episodes: EpisodicStore, archiver: EpisodeArchiver, archive: EpisodeArchive, store: Store, client: redis.Redis
) -> None:
    bet = episodes.record("bet", {"n": 1})
    archiver.run()
    episodes.update_outcome(bet, {"won": True})
    archiver.run()
    assert archived(store) == 2
    client.flushdb()
    again = episodes.update_outcome(bet.id, {"won": False, "note": "recounted"})
    assert again.revision == 2
    found = archive.get("ag_7", bet.id)
    assert found is not None
    assert (found.payload, found.outcome) == ({"n": 1}, {"won": False, "note": "recounted"})
    with pytest.raises(NotFound):
        episodes.update_outcome(uuid4(), {})


def test_an_outcome_that_changes_while_it_is_archived_is_archived_again(
    episodes: EpisodicStore, recent: RecentEpisodes, archive: EpisodeArchive
) -> None:
    bet = episodes.record("bet", {"n": 1})
    pending = recent.pending("ag_7", 10)
    archive.add([each.episode for each in pending if each.episode is not None])
    episodes.update_outcome(bet, {"won": True})
    recent.archived("ag_7", pending)
    assert [each.episode and each.episode.revision for each in recent.pending("ag_7", 10)] == [1]


def test_the_archive_is_append_only(episodes: EpisodicStore, archiver: EpisodeArchiver, store: Store) -> None:
    episodes.record("bet", {"n": 1})
    archiver.run()
    for rewriting in ("UPDATE episodes SET event_type = 'gift'", "DELETE FROM episodes"):
        with pytest.raises(DatabaseError), store.transaction() as tx:
            tx.connection.execute(sa.text(rewriting))
    assert archived(store) == 1


def test_without_redis_episodes_go_to_the_archive_and_come_back(
    without_redis: EpisodicStore, episodes: EpisodicStore, archiver: EpisodeArchiver, store: Store
) -> None:
    before = episodes.record("bet", {"n": 0})
    archiver.run()
    missed = without_redis.record("bet", {"n": 1})
    assert missed.degraded
    assert all(each.degraded for each in without_redis.record_many([("bet", {"n": 2}, None, None)]))
    seen = without_redis.get_recent()
    assert [(episode.payload["n"], episode.degraded) for episode in seen] == [(2, True), (1, True), (0, True)]
    assert without_redis.summarize_window(START)["degraded"] is True
    assert without_redis.summarize_window(START)["total_events"] == 3
    assert without_redis.update_outcome(missed, {"won": True}).outcome == {"won": True}
    assert episodes.get_recent() == [before]
    archiver.run()
    back = episodes.get_recent()
    assert [(episode.payload["n"], episode.outcome, episode.degraded) for episode in back] == [
        (2, None, False), (1, {"won": True}, False), (0, None, False),
    ]  # fmt: skip
    with store.read_connection() as connection:
        assert connection.execute(sa.select(episode_returns)).all() == []
    archiver.run()
    assert episodes.summarize_window(START)["total_events"] == 3


def test_an_outcome_that_comes_while_redis_is_away_is_there_when_it_is_back(
    without_redis: EpisodicStore, episodes: EpisodicStore, archiver: EpisodeArchiver
) -> None:
    bet, other = episodes.record("bet", {"n": 0}), episodes.record("bet", {"n": 1})
    archiver.run()
    ended = without_redis.update_outcome(bet, {"won": True})
    assert (ended.outcome, ended.degraded) == ({"won": True}, True)
    assert archiver.run() >= 1
    assert [episode.outcome for episode in episodes.get_recent()] == [None, {"won": True}]
    episodes.update_outcome(other, {"won": False})
    archiver.run()
    assert [episode.outcome for episode in episodes.range(START)] == [{"won": False}, {"won": True}]
    young = episodes.record("bet", {"n": 2})
    with pytest.raises(RedisUnavailable, match="cannot be told"):
        without_redis.update_outcome(young, {"won": True})


def test_a_redis_that_lost_everything_is_given_the_recent_past(
    episodes: EpisodicStore, without_redis: EpisodicStore, archiver: EpisodeArchiver, client: redis.Redis
) -> None:
    episodes.record_many([("bet", {"n": n}, None, None) for n in range(5)])
    archiver.run()
    client.flushdb()
    assert [episode.payload["n"] for episode in episodes.get_recent()] == [4, 3, 2, 1, 0]
    client.flushdb()
    episodes.record("bet", {"n": 5})
    assert [episode.payload["n"] for episode in episodes.get_recent()] == [5, 4, 3, 2, 1, 0]
    assert archiver.run() == 1
    client.flushdb()
    episodes.record_many([("bet", {"n": n}, None, None) for n in (6, 7)])
    assert [episode.payload["n"] for episode in episodes.get_recent()] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert archiver.run() == 2
    client.flushdb()
    without_redis.record("bet", {"n": 8})
    assert archiver.run() == 1
    assert [episode.payload["n"] for episode in episodes.get_recent()] == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_when_no_worker_ever_comes_the_oldest_are_lost_and_counted(
    client: redis.Redis, archive: EpisodeArchive, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_episodes, "MOST_WAITING", 40)
    store = EpisodicStore(RecentEpisodes(client, archived=True), "ag_7", settings, archive=archive)
    store.record_many([("tick", {"n": n}, None, None) for n in range(96)])
    assert store.lost() == 56
    assert client.zcard("as:{ag_7}:episodes:pending") == 40


def test_limits_are_an_agents_own(recent: RecentEpisodes) -> None:
    limits: Any = {"ag_7": {"kept": 5, "ttl_s": 3_600}}
    settings = Settings.load(database_url="sqlite:///unused.db", episodes_limits=limits)
    small, usual = EpisodicStore(recent, "ag_7", settings), EpisodicStore(recent, "ag_8", settings)
    assert (small.limits.kept, small.limits.ttl_s) == (5, 3_600)
    assert (usual.limits.kept, usual.limits.ttl_s) == (500, 604_800)


def test_agents_that_record_no_more_are_visited_no_more(
    episodes: EpisodicStore, archiver: EpisodeArchiver, recent: RecentEpisodes, client: redis.Redis
) -> None:
    episodes.record("bet", {"n": 1})
    archiver.run()
    archiver.run()
    assert recent.visits(0, 10) == ["ag_7"]  # it may have recorded again just now
    client.zadd(recent_episodes.VISITS, {"ag_7": 1})
    archiver.run()
    assert recent.visits(0, 10) == []


def test_lessons_rest_on_episodes_that_they_name(
    store: Store, archive: EpisodeArchive, recent: RecentEpisodes, settings: Settings, remembering: MemoryService
) -> None:
    jobs = Jobs(store, NullWakeUpSender(), settings)
    episodes = EpisodicStore(recent, "ag_7", settings, archive=archive)
    for n in range(ENOUGH):
        outcome = {"won": n % 2 == 0, "payout": Decimal("4.97")}
        episodes.record("bet", {"game": "coin-flip", "amount": Decimal("2.50"), "round": n}, outcome)
    EpisodeArchiver(recent, archive, jobs, settings).run()
    waiting = jobs.list(kind=DRAW_LESSONS)
    assert {job.agent_id for job in waiting} == {"ag_7"}
    drawer = LessonDrawer(store, archive, remembering, DigestSummarizer())
    assert drawer.draw("ag_7") == ENOUGH
    assert drawer.draw("ag_7") == 0
    with store.read_connection() as connection:
        (lesson,) = connection.execute(sa.select(memories)).all()
    assert (lesson.agent_id, lesson.kind) == ("ag_7", "lesson")
    assert lesson.content
    named = {UUID(each) for each in lesson.metadata["episodes"]}
    assert named == {episode.id for episode in episodes.range(START)}


def test_few_episodes_wait_for_more_or_for_a_day(
    store: Store,
    archive: EpisodeArchive,
    episodes: EpisodicStore,
    archiver: EpisodeArchiver,
    remembering: MemoryService,
) -> None:
    episodes.record("bet", {"n": 1, "amount": Decimal("2.50")}, {"won": True})
    archiver.run()
    drawer = LessonDrawer(store, archive, remembering, DigestSummarizer())
    assert drawer.draw("ag_7") == 0
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=1)
    drawer = LessonDrawer(store, archive, remembering, DigestSummarizer(), clock=lambda: tomorrow)
    assert drawer.draw("ag_7") == 1


def test_on_a_cluster_every_step_stays_in_one_slot(
    cluster: redis.Redis, store: Store, archive: EpisodeArchive, settings: Settings
) -> None:
    profile = AgentProfile(store, ProfileCache(cluster, "ag_7"), "ag_7")
    profile.set_field("mood", "calm")
    assert profile.snapshot() == {"mood": "calm"}
    assert cluster.hlen("as:{ag_7}:profile") == 2  # the field, and the mark that all are there
    updates = StateSync(store, lambda agent_id: UpdateStream(cluster, agent_id), "ag_7")
    updates.publish_update("mood", "calm")
    assert cluster.xlen("as:{ag_7}:updates") == 1
    recent = RecentEpisodes(cluster, archived=True)
    episodes = EpisodicStore(recent, "ag_7", settings, archive=archive)
    bet = episodes.record("bet", {"n": 0})
    episodes.record_many([("tick", {"n": n}, None, None) for n in range(100)])
    assert episodes.get_recent(5, "bet") == [bet]
    assert episodes.update_outcome(bet, {"won": True}).revision == 1
    assert episodes.summarize_window(START)["total_events"] == 101
    assert EpisodeArchiver(recent, archive, None, settings).run() == 101
    assert episodes.summarize_window(START)["total_events"] == 101


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[redis.Redis]:
    """A Redis in cluster mode of one node: it refuses steps over several slots all the same."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bus = free.getsockname()[1]
    with (
        redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(bus)) as url,
        redis.Redis.from_url(url) as client,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        _until(lambda: b"cluster_state:ok" in bytes(client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)))
        yield client


def _until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if happened():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
