"""Redis may lose its copy of the episodes at any time: nothing accepted is lost, missing, or there twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, cast
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa

from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.lesson_jobs import DRAW_LESSONS, ENOUGH, LessonJobs
from agentstate.memory.episodes.lessons import LessonDrawer
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.facts.service import MemoryService
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.state.profile import AgentProfile
from agentstate.state.profile_cache import ProfileCache
from agentstate.state.update_stream import UpdateStream
from agentstate.state.updates import StateSync
from agentstate.store import Store
from agentstate.store.tables import memories
from deploy.local.stack.table import python_path
from tests.stubs.redis_server import redis_server
from tests.worlds.episodes import COPY, EpisodeWorld, between, numbers
from tests.worlds.waiting import until

ROOT = Path(__file__).parents[3]
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def world(store: Store, client: redis.Redis) -> EpisodeWorld:
    return EpisodeWorld(store, client)


@pytest.fixture
def remembering(store: Store, world: EpisodeWorld) -> MemoryService:
    """Semantic memory for those who only remember: no index, no embedder."""
    jobs = Jobs(store, NullWakeUpSender(), world.settings)
    return MemoryService(store, jobs, cast("Any", None), cast("Any", None), world.settings)


def test_a_redis_that_lost_everything_shows_the_same(world: EpisodeWorld) -> None:
    episodes = world.process()
    episodes.record_many([("bet", {"n": n}, None, None) for n in range(5)])
    world.client.flushdb()
    assert numbers(episodes.get_recent()) == [4, 3, 2, 1, 0]
    world.client.flushdb()
    episodes.record("bet", {"n": 5})
    assert numbers(episodes.get_recent()) == [5, 4, 3, 2, 1, 0]
    world.client.flushdb()
    episodes.record_many([("bet", {"n": n}, None, None) for n in (6, 7)])
    assert numbers(episodes.get_recent()) == numbers(episodes.get_recent()) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert episodes.get_recent() == world.without_redis().get_recent()


def test_what_pushed_out_the_oldest_is_in_the_store_with_them(world: EpisodeWorld) -> None:
    episodes = world.process()
    for n in range(100):
        episodes.record("tick", {"n": n, "amount": Decimal("0.10")}, at=START + timedelta(seconds=n))
    found = episodes.between(START, START + timedelta(seconds=50))
    assert numbers(found) == list(range(49, -1, -1))
    assert found[0].payload["amount"] == Decimal("0.10")
    assert len(episodes.between(START, event_type="tick", limit=5)) == 5


@pytest.mark.parametrize("meanwhile", ["recorded", "recorded and flushed", "outcome", "many", "flushed"])
@pytest.mark.parametrize("pause", ["before the store is read", "after the store was read"])
def test_a_reader_of_a_lost_copy_that_pauses_hides_and_doubles_nothing(
    world: EpisodeWorld, monkeypatch: pytest.MonkeyPatch, meanwhile: str, pause: str
) -> None:
    """A reader finds no copy and reads the store; others write between its reads; then it fills the copy."""
    writer, reader = world.process(), world.process()
    first = [writer.record("bet", {"n": n}) for n in range(3)]

    def happens() -> None:
        if meanwhile.startswith("recorded"):
            writer.record("bet", {"n": 3})
        if meanwhile == "outcome":
            writer.update_outcome(first[1], {"won": True})
        if meanwhile == "many":
            writer.record_many([("tick", {"n": n}, None, None) for n in range(3, 80)])
        if meanwhile.endswith("flushed"):
            world.client.flushdb()

    world.client.flushdb()
    if pause.startswith("before"):
        between(monkeypatch, RecentEpisodes, "read_copy", happens)
    else:
        between(monkeypatch, EpisodeArchive, "read_newest", happens)
    seen = reader.get_recent(50)
    truth = world.without_redis()
    assert {each.id for each in seen} <= {each.id for each in truth.between(START, limit=200)}
    assert set(first) <= {*seen, first[1]} or meanwhile == "many"
    for process in (reader, writer, world.process()):
        assert process.get_recent(50) == process.get_recent(50) == truth.get_recent(50)


def test_readers_and_writers_under_flushes_never_miss_what_was_acknowledged(world: EpisodeWorld) -> None:
    """Whatever `record` has returned is in each later `get_recent`, in order and once, while Redis is emptied."""
    over, acknowledged = Event(), [-1]
    writer = world.process()

    def read() -> int:
        reader, reads = world.process(), 0
        while not over.is_set():
            least = acknowledged[0]
            seen = numbers(reader.get_recent(50))
            assert seen == sorted(set(seen), reverse=True), seen
            assert (seen[0] if seen else -1) >= least
            assert seen == list(range(seen[0], seen[0] - len(seen), -1)) if seen else True
            assert len(seen) >= min(least + 1, 50)
            reads += 1
        return reads

    def flush() -> None:
        while not over.wait(0.02):
            world.client.flushdb()

    with ThreadPoolExecutor(3) as pool:
        readers, flushing = [pool.submit(read) for _ in range(2)], pool.submit(flush)
        try:
            for n in range(150):
                writer.record("tick", {"n": n})
                acknowledged[0] = n
        finally:
            over.set()
        assert all(each.result() > 0 for each in readers)
        flushing.result()


def test_a_write_that_redis_missed_is_not_hidden_by_its_old_copy(world: EpisodeWorld) -> None:
    episodes = world.process()
    episodes.record("bet", {"n": 0})
    episodes.get_recent()
    assert episodes._recent is not None
    recent = episodes._recent
    recent._away_until = time.monotonic() + 60  # it did not answer a moment ago
    episodes.record("bet", {"n": 1})
    assert numbers(episodes.get_recent()) == [1, 0]
    assert world.client.zcard(COPY) == 1 + 1
    recent._away_until = 0.0
    assert numbers(episodes.get_recent()) == [1, 0]
    assert numbers(world.process().get_recent()) == [1, 0]
    assert 0 < world.client.ttl(COPY) <= 300  # so long another process may show an old copy


RECORDER = """
import sys
from agentstate import Agent
agent = Agent("ag_7")
agent.episodes.get_recent()
n = 0
while True:
    agent.episodes.record("tick", {"n": n})
    print(n, flush=True)
    n += 1
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed_and_redis_emptied(
    settings: Settings, settings_env: dict[str, str]
) -> None:
    """A real process that records, killed by `kill -9`; what it was told is recorded is there, once and in order."""
    runtime = Runtime(settings)
    env = os.environ | settings_env | {"PYTHONPATH": python_path(None)}
    try:
        told: list[int] = []
        with subprocess.Popen([sys.executable, "-c", RECORDER], cwd=ROOT, env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(int(line))
                if len(told) == 20:
                    runtime.redis.flushdb()
                if len(told) == 60:
                    process.send_signal(signal.SIGKILL)
                    break
            told += [int(line) for line in process.stdout.read().splitlines()]
        assert process.returncode == -signal.SIGKILL
        episodes = runtime.episodes_of("ag_7")
        everything = numbers(episodes.between(START - timedelta(days=3_650), limit=10_000))
        assert everything[::-1] == list(range(len(everything)))
        assert len(told) <= len(everything) <= len(told) + 1  # one may be committed that it was not told of
        runtime.redis.flushdb()
        assert numbers(episodes.get_recent(40)) == everything[:40]
    finally:
        runtime.close()


def test_two_who_change_one_outcome_at_once_both_count(world: EpisodeWorld) -> None:
    episodes = world.process()
    bet = episodes.record("bet", {"n": 1})
    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(lambda n: world.process().update_outcome(bet, {"won": n}), range(4)))
    assert sorted(each.revision for each in changed) == [1, 2, 3, 4]
    newest = max(changed, key=lambda each: each.revision)
    assert episodes.get(bet.id) == newest
    assert episodes.get_recent() == episodes.get_recent() == [newest]


def test_lessons_rest_on_episodes_that_they_name(store: Store, world: EpisodeWorld, remembering: MemoryService) -> None:
    jobs = Jobs(store, NullWakeUpSender(), world.settings)
    episodes = world.process(lessons=LessonJobs(jobs))
    for n in range(ENOUGH):
        outcome = {"won": n % 2 == 0, "payout": Decimal("4.97")}
        episodes.record("bet", {"game": "coin-flip", "amount": Decimal("2.50"), "round": n}, outcome)
    waiting = jobs.list(kind=DRAW_LESSONS)
    assert {job.agent_id for job in waiting} == {"ag_7"}
    assert len(waiting) == 2  # one now, and one in a day for what comes after
    drawer = LessonDrawer(store, world.archive, remembering, DigestSummarizer())
    assert drawer.draw_lesson("ag_7") == ENOUGH
    assert drawer.draw_lesson("ag_7") == 0
    with store.read_connection() as connection:
        (lesson,) = connection.execute(sa.select(memories)).all()
    assert (lesson.agent_id, lesson.kind) == ("ag_7", "lesson")
    assert lesson.content
    named = {UUID(each) for each in lesson.metadata["episodes"]}
    assert named == {episode.id for episode in episodes.between(START)}


def test_few_episodes_wait_for_more_or_for_a_day(store: Store, world: EpisodeWorld, remembering: MemoryService) -> None:
    jobs = Jobs(store, NullWakeUpSender(), world.settings)
    episodes = world.process(lessons=LessonJobs(jobs))
    episodes.record("bet", {"n": 1, "amount": Decimal("2.50")}, {"won": True})
    [later] = jobs.list(kind=DRAW_LESSONS)
    assert later.due_at - datetime.now(UTC) > timedelta(hours=23)
    drawer = LessonDrawer(store, world.archive, remembering, DigestSummarizer())
    assert drawer.draw_lesson("ag_7") == 0
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=1)
    drawer = LessonDrawer(store, world.archive, remembering, DigestSummarizer(), clock=lambda: tomorrow)
    assert drawer.draw_lesson("ag_7") == 1


def test_a_lesson_leaves_out_no_episode_that_commits_late(
    store: Store, world: EpisodeWorld, remembering: MemoryService
) -> None:
    """One writer's row has the lower number and commits last; the drawer waits for it."""
    slow, quick = world.process(), world.process()
    drawer = LessonDrawer(store, world.archive, remembering, DigestSummarizer())
    with ThreadPoolExecutor(1) as pool:
        with store.transaction() as tx:
            slow.record("bet", {"n": 0, "late": "yes"}, tx=tx)
            if store.database.is_server:
                quick.record_many([("bet", {"n": n}, None, None) for n in range(1, ENOUGH)])
                drawing = pool.submit(drawer.draw_lesson, "ag_7")
                time.sleep(0.2)
        if not store.database.is_server:  # one writer at a time: nobody can be late
            quick.record_many([("bet", {"n": n}, None, None) for n in range(1, ENOUGH)])
            drawing = pool.submit(drawer.draw_lesson, "ag_7")
        assert drawing.result() == ENOUGH


def test_on_a_cluster_every_step_stays_in_one_slot(cluster: redis.Redis, store: Store, world: EpisodeWorld) -> None:
    profile = AgentProfile(store, ProfileCache(cluster, "ag_7"), "ag_7")
    profile.set_field("mood", "calm")
    assert profile.snapshot() == {"mood": "calm"}
    assert cluster.hlen("as:{ag_7}:profile") == 2  # the field, and the mark that all are there
    updates = StateSync(store, lambda agent_id: UpdateStream(cluster, agent_id), "ag_7")
    updates.publish_update("mood", "calm")
    assert cluster.xlen("as:{ag_7}:updates") == 1
    episodes = world.process(client=cluster)
    assert episodes.get_recent() == []
    bet = episodes.record("bet", {"n": 0})
    episodes.record_many([("tick", {"n": n}, None, None) for n in range(100)])
    assert cluster.zcard(COPY) == 50 + 1
    assert episodes.get_recent(5, "bet") == [bet]
    assert episodes.update_outcome(bet, {"won": True}).revision == 1
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
        until(lambda: b"cluster_state:ok" in bytes(client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)))
        yield client
