"""Ingest: every turn once as a turn and as a memory, however often it runs and wherever it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.memory.facts.counts import count_conversations, count_memories
from agentstate.memory.ingest.ingest import BATCH, Ingest, IngestReport
from agentstate.memory.ingest.transcripts import read_transcript
from agentstate.store import Store
from agentstate.store.tables import memories, turns
from tests.worlds.memories import World

REPOSITORY = Path(__file__).parents[3]

RUN_AND_DIE = """
import os, signal, sys
from pathlib import Path
from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.ingest.ingest import Ingest
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.ingest.transcripts import read_transcript
from agentstate.providers.embedding.embedder import LexicalEmbedder
from agentstate.settings import Settings
from agentstate.store import Store


settings = Settings.load(database_url=sys.argv[1])
store, embedder = Store.open(settings.database_url), LexicalEmbedder()
jobs = Jobs(store, NullWakeUpSender(), settings)
index = MemoryIndex(None, embedder.space)
memory = MemoryService(store, jobs, index, embedder, settings)

def die(report):
    if report.stored >= 500:
        os.kill(os.getpid(), signal.SIGKILL)

Ingest(store, jobs, memory, settings).store_turns(read_transcript(Path(sys.argv[2]), settings), die)
"""


@pytest.fixture
def ingest(world: World) -> Ingest:
    return Ingest(world.store, world.jobs, world.memory, world.settings)


def transcript(folder: Path, count: int, *, agents: int = 3) -> Path:
    path = folder / "transcript.jsonl"
    lines = (
        {
            "agent": f"a{n % agents}",
            "session": "s",
            "speaker": "Ann",
            "time": 1_700_000_000 + n,
            "text": f"word {n // 2}",
        }
        for n in range(count)
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def stored(store: Store, table: Any) -> int:
    with store.read_connection() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_every_turn_becomes_a_turn_and_a_memory_once(world: World, ingest: Ingest, tmp_path: Path) -> None:
    path = transcript(tmp_path, 1_100)
    seen: list[int] = []
    report = ingest.store_turns(read_transcript(path, world.settings), lambda now: seen.append(now.read))
    assert (report.read, report.stored, report.already, report.refused) == (1_100, 1_100, 0, [])
    assert seen == [BATCH, 2 * BATCH, 1_100]
    again = ingest.store_turns(read_transcript(path, world.settings))
    assert (again.read, again.stored, again.already) == (1_100, 0, 1_100)
    assert stored(world.store, turns) == stored(world.store, memories) == 1_100
    assert world.wakes.bulk == ["embedding.embed_pending"] * 3
    with world.store.read_connection() as connection:
        assert [counts.stored for counts in count_memories(connection)] == [367, 367, 366]
        assert [counts.turns for counts in count_conversations(connection)] == [367, 367, 366]


def test_a_file_that_has_grown_adds_what_is_new(world: World, ingest: Ingest, tmp_path: Path) -> None:
    ingest.store_turns(read_transcript(transcript(tmp_path, 10), world.settings))
    report = ingest.store_turns(read_transcript(transcript(tmp_path, 14), world.settings))
    assert (report.stored, report.already) == (4, 10)


def test_bad_turns_are_refused_and_the_rest_is_taken(world: World, ingest: Ingest, tmp_path: Path) -> None:
    path = transcript(tmp_path, 5)
    path.write_text(path.read_text() + '\n{"agent": "a1"}\nnot json\n')
    report = ingest.store_turns(read_transcript(path, world.settings))
    assert (report.read, report.stored, [problem.line for problem in report.refused]) == (7, 5, [6, 7])


def test_an_id_that_comes_back_with_another_text_is_refused(world: World, ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    turn = {"agent": "a", "session": "s", "time": 0, "id": 7}
    path.write_text("\n".join(json.dumps(turn | {"text": text}) for text in ("one", "two")))
    report = ingest.store_turns(read_transcript(path, world.settings))
    assert (report.stored, len(report.refused)) == (1, 1)
    assert "stored before with another text" in report.refused[0].reason
    assert stored(world.store, memories) == 1


def test_long_conversations_ask_for_a_summary_once(world: World, ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    turn = {"agent": "a", "session": "s", "time": 0}
    path.write_text("\n".join(json.dumps(turn | {"text": f"{n} " + "word " * 100}) for n in range(520)))
    ingest.store_turns(read_transcript(path, world.settings))
    (job,) = world.jobs.list()
    assert job.kind == "summarization.summarize_conversation"


@pytest.mark.long
def test_a_run_that_is_killed_is_made_whole_by_the_next(
    database_url: str, world: World, ingest: Ingest, tmp_path: Path
) -> None:
    path = transcript(tmp_path, 1_200)
    died = subprocess.run(
        [sys.executable, "-c", RUN_AND_DIE, database_url, str(path)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "shared")},
    )
    assert died.returncode == -signal.SIGKILL
    assert stored(world.store, turns) == stored(world.store, memories) == 500
    report = ingest.store_turns(read_transcript(path, world.settings))
    assert (report.read, report.stored, report.already) == (1_200, 700, 500)
    assert stored(world.store, turns) == stored(world.store, memories) == 1_200


def test_ingested_turns_are_found_with_their_neighbours_numbers(world: World, ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    session = [
        {"speaker": "Ann", "dia_id": "D1:1", "text": "What did you do?"},
        {"speaker": "Bo", "dia_id": "D1:2", "text": "I raced for charity"},
    ]
    conversation = {
        "speaker_a": "Ann",
        "speaker_b": "Bo",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": session,
    }
    path.write_text(json.dumps([{"sample_id": "conv-1", "conversation": conversation}]))
    assert ingest.store_turns(read_transcript(path, world.settings)) == IngestReport(read=2, stored=2)
    world.pipeline().run_until_idle()
    hit = world.memory.of("conv-1").recall("when did Bo race?", kind="turn")[0]
    assert (hit.content, hit.speaker, hit.source, hit.turn) == ("I raced for charity", "Bo", "D1:2", 2)
    assert hit.metadata == {"part": 1}
