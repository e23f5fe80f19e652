"""`agentstate remember`, `recall` and `ingest` over the whole system: what is taken is there once, and is found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import memories, turns
from tests.worlds.commands import Command
from tests.worlds.servers import running_worker
from tests.worlds.waiting import until

ROOT = Path(__file__).parents[3]
PATH = {"PYTHONPATH": f"{ROOT / 'shared'}:{ROOT}", "PATH": ""}
LOCOMO = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Bo",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "I adopted a puppy named Biscuit."},
            {"speaker": "Bo", "dia_id": "D1:2", "text": "Lovely! Mine is a tortoise."},
        ],
    },
}


def turn(number: int, **changes: Any) -> dict[str, Any]:
    said = {"agent": "ag_1", "session": "s1", "speaker": "user", "time": f"2026-11-22T10:{number % 60:02}:00Z"}
    return {**said, "text": f"Turn number {number} about bets", "id": f"t{number}", **changes}


def written(path: Path, *items: Any) -> str:
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in items) + "\n")
    return str(path)


@pytest.fixture
def counted(settings: Settings) -> Iterator[Any]:
    """How many turns and memories there are."""
    store = Store.open(settings.database_url)

    def count() -> tuple[int, int]:
        with store.read_connection() as connection:
            return (
                connection.execute(sa.select(sa.func.count()).select_from(turns)).scalar_one(),
                connection.execute(sa.select(sa.func.count()).select_from(memories)).scalar_one(),
            )

    yield count
    store.close()


@pytest.fixture
def worker(settings_env: dict[str, str]) -> Iterator[None]:
    """A worker that embeds and summarizes."""
    with running_worker(settings_env, "embedding,summarization"):
        yield


def test_a_memory_is_kept_once_and_found_at_once(agentstate: Command) -> None:
    words = ("remember", "ag_1", "Flat stakes beat martingale", "--kind", "lesson", "--metadata", "game=dice")
    first, again = agentstate(*words, "--json").json, agentstate(*words, "--json").json
    assert (first["outcome"], again["outcome"], again["searchable"]) == ("new", "kept", "words")
    assert first["id"] == again["id"]
    found = agentstate("recall", "ag_1", "stakes", "--json").json
    assert [hit["id"] for hit in found["hits"]] == [first["id"]]
    assert found["hits"][0]["metadata"] == {"game": "dice"}
    assert "retrievers" not in found["hits"][0]
    explained = agentstate("recall", "ag_1", "stakes", "--explain", "--json").json
    assert explained["hits"][0]["retrievers"]["keyword_store"]["rank"] == 1
    assert "Flat stakes beat martingale" in agentstate("recall", "ag_1", "stakes").out
    assert agentstate("recall", "ag_2", "stakes").out == "nothing found\n"
    assert agentstate("recall", "ag_1", "stakes", "--kind", "fact", "--json").json["hits"] == []


def test_what_was_stated_is_told_as_it_was_known(agentstate: Command) -> None:
    about = ("--subject", "wallet.usdc", "--valid-from")
    agentstate("remember", "ag_1", "The wallet has 40 USDC", *about, "2026-01-01T00:00:00Z")
    agentstate("remember", "ag_1", "The wallet has 25 USDC", *about, "2026-02-01T00:00:00Z")
    told = agentstate("history", "ag_1", "wallet.usdc", "--json").json["statements"]
    assert [(one["content"], one["holds"]) for one in told] == [
        ("The wallet has 40 USDC", False),
        ("The wallet has 25 USDC", True),
    ]
    [_, first, second] = agentstate("history", "ag_1", "wallet.usdc").out.splitlines()
    assert first.split()[:2] == ["no", "2026-01-01"]
    assert second.split()[:2] == ["yes", "2026-02-01"]
    assert agentstate("history", "ag_1", "wallet.usdc", "--as-of", "2026-01-15T00:00:00Z").out == (
        "ag_1 stated nothing about wallet.usdc\n"  # neither was stored by then
    )
    [hit] = agentstate("recall", "ag_1", "wallet", "--json").json["hits"]
    assert hit["content"] == "The wallet has 25 USDC"
    assert agentstate("recall", "ag_1", "wallet", "--until", "2026-01-01T00:00:00Z").out == "nothing found\n"


def test_what_is_forgotten_is_gone_from_every_store(agentstate: Command) -> None:
    kept, gone = (agentstate("remember", "ag_1", text, "--json").json["id"] for text in ("bets pay", "bets lose"))
    receipt = agentstate("forget", "ag_1", gone, "--json").json
    assert (receipt["memory"], receipt["complete"]) == (gone, True)
    assert [hit["id"] for hit in agentstate("recall", "ag_1", "bets", "--json").json["hits"]] == [kept]
    shown = agentstate("forget", "ag_1", "--everything", "--conversations").out.splitlines()
    assert shown[0].split() == ["store", "removed", "left"]
    assert ["memories", "1", "0"] in [line.split() for line in shown]
    assert "conversations" in " ".join(shown)
    assert agentstate("recall", "ag_1", "bets").out == "nothing found\n"


def test_a_text_is_read_from_standard_input_and_shown_without_control_characters(agentstate: Command) -> None:
    assert agentstate("remember", "ag_1", "-", stdin="red \x1b[31m alert").code == 0
    shown = agentstate("recall", "ag_1", "alert").out
    assert "red \\x1b[31m alert" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("remember", "ag 1", "text"), 1, "agent id 'ag 1' is refused"),
        (("remember", "ag_1", "  "), 1, "the content is empty"),
        (("remember", "ag_1", "text", "--kind", "a b"), 1, "kind 'a b' is refused"),
        (("remember", "ag_1", "text", "--metadata", "novalue"), 2, "KEY=VALUE"),
        (("recall", "ag/1", "text"), 1, "agent id 'ag/1' is refused"),
        (("ingest", "/no/such/file"), 2, "does not exist"),
        (("recall", "ag_1", "text", "--since", "yesterday"), 2, "is no time"),
        (("recall", "ag_1", "text", "--as-of", "2026-01-31T12:00:00"), 2, "has no zone"),
        (("recall", "ag_1", "text", "--namespace", "desk"), 1, "desk"),
        (("remember", "ag_1", "text", "--importance", "11"), 2, "1<=x<=10"),
        (("forget", "ag_1"), 2, "--everything"),
        (("forget", "ag_1", "0d5d7a5e-0000-5000-8000-000000000000", "--everything"), 2, "Nothing was removed"),
        (("forget", "ag_1", "0d5d7a5e-0000-5000-8000-000000000000"), 1, "has no memory"),
        (("forget", "ag_1", "0d5d7a5e-0000-5000-8000-000000000000", "--conversations"), 2, "--everything"),
        (("forget", "ag_1", "--everything", "--namespace", "desk"), 2, "not the agent's alone"),
    ],
)
def test_bad_input_is_a_clear_error(agentstate: Command, words: tuple[str, ...], code: int, said: str) -> None:
    answer = agentstate(*words)
    assert answer.code == code
    assert said in answer.err


def test_a_text_over_the_limit_is_refused(agentstate: Command, counted: Any) -> None:
    answer = agentstate("remember", "ag_1", "-", stdin="x" * 10_000_000)
    assert answer.code == 1
    assert "over the limit" in answer.err
    assert len(answer.err) < 500
    assert counted() == (0, 0)


def test_a_transcript_is_taken_once_however_often_it_is_given(
    agentstate: Command, counted: Any, tmp_path: Path
) -> None:
    file = written(tmp_path / "turns.jsonl", *[turn(number) for number in range(1_200)])
    first = agentstate("ingest", file, "--json")
    assert (first.code, first.json["stored"], first.json["already"]) == (0, 1_200, 0)
    again = agentstate("ingest", file)
    assert again.out == f"{file}: 0 turns stored, 1,200 there already, 0 refused\n"
    assert counted() == (1_200, 1_200)


def test_bad_lines_are_named_and_the_rest_is_taken(agentstate: Command, counted: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "turns.jsonl", turn(1), "{not json", turn(2, text=""), turn(3, agent="a b"), turn(4))
    answer = agentstate("ingest", file)
    assert answer.code == 0
    assert "2 turns stored, 0 there already, 3 refused" in answer.out
    named = [line.strip().removeprefix(f"{file}:")[0] for line in answer.err.splitlines()[1:]]
    assert named == ["2", "3", "4"]
    assert counted() == (2, 2)
    assert agentstate("ingest", file, "--strict").code == 1
    told = agentstate("ingest", file, "--json").json["refused"]
    assert [(problem["file"], problem["line"]) for problem in told] == [(file, 2), (file, 3), (file, 4)]


def test_people_see_the_first_refused_turns_and_json_has_all(agentstate: Command, tmp_path: Path) -> None:
    file = written(tmp_path / "turns.jsonl", *["{" for _ in range(50)])
    answer = agentstate("ingest", file)
    assert answer.code == 1
    assert "... and 30 more" in answer.err
    assert len(agentstate("ingest", file, "--json").json["refused"]) == 50


def test_turns_without_an_agent_get_the_one_that_is_named(agentstate: Command, tmp_path: Path) -> None:
    nobody = {name: value for name, value in turn(1).items() if name != "agent"}
    file = written(tmp_path / "turns.json", json.dumps([nobody, turn(2, agent="ag_2")]))
    assert "the field 'agent' is missing" in agentstate("ingest", file).err
    assert agentstate("ingest", file, "--agent", "ag_9", "--json").json["agents"] == ["ag_2", "ag_9"]


def test_a_format_that_is_named_is_insisted_on(agentstate: Command, tmp_path: Path) -> None:
    lines = written(tmp_path / "turns.txt", turn(1), turn(2))
    assert "not valid JSON" in agentstate("ingest", lines, "--format", "json").err
    assert (
        "no conversation of LoCoMo's"
        in agentstate("ingest", written(tmp_path / "one.json", turn(1)), "--format", "locomo").err
    )
    assert agentstate("ingest", lines, "--format", "jsonl", "--json").json["stored"] == 2


@pytest.mark.long
def test_what_is_waited_for_is_searchable(agentstate: Command, worker: None, tmp_path: Path) -> None:
    file = written(tmp_path / "locomo.json", json.dumps([LOCOMO]))
    answer = agentstate("ingest", file, "--wait", "--timeout", "60", "--json")
    assert answer.code == 0
    assert answer.json["settled"] == {
        "memories": 2, "searchable": 2, "dead": 0, "conversations": 1, "summarized": 0, "summaries_due": 0,
    }  # fmt: skip
    hit = agentstate("recall", "conv-1", "What is the puppy called?", "--json").json["hits"][0]
    assert (hit["content"], hit["speaker"], hit["state"]) == ("I adopted a puppy named Biscuit.", "Ann", "searchable")
    waited = agentstate("remember", "conv-1", "Biscuit likes cheese", "--wait", "--timeout", "60", "--json")
    assert waited.json["outcome"] == "new"
    assert waited.json["searchable"] in {"words", "meaning"}
    workers = agentstate("doctor", "--only", "workers", "--json").json["checks"][0]
    assert workers["verdict"] == "warn"
    assert "1 alive: worker@" in workers["found"]
    assert workers["found"].endswith("serves cache, reconciliation, effects, snapshots, housekeeping")


def test_waiting_without_a_worker_ends_with_what_is_kept(agentstate: Command, tmp_path: Path) -> None:
    file = written(tmp_path / "turns.jsonl", turn(1), turn(2))
    answer = agentstate("ingest", file, "--wait", "--timeout", "0.2")
    assert answer.code == 1
    assert "0 of 2 memories searchable" in answer.err
    assert agentstate("remember", "ag_1", "text", "--wait", "--timeout", "0.2").code == 1


@pytest.mark.long
def test_an_ingest_that_is_killed_goes_on_where_it_was(
    agentstate: Command, settings_env: dict[str, str], counted: Any, tmp_path: Path
) -> None:
    """The command reads from a pipe that never ends, so it is surely killed half-way."""
    items = [turn(number) for number in range(1_200)]
    pipe = tmp_path / "turns.jsonl"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "agentstate", "ingest", str(pipe), "--format", "jsonl"]
    with (
        subprocess.Popen(command, env={**settings_env, **PATH}, cwd=ROOT, stderr=subprocess.DEVNULL) as process,
        pipe.open("w") as writer,
    ):
        writer.writelines(json.dumps(item) + "\n" for item in items[:1_000])
        writer.flush()
        until(lambda: counted()[0] >= 500)
        process.send_signal(signal.SIGKILL)
    kept = counted()
    assert 500 <= kept[0] < 1_200
    assert kept[0] == kept[1]
    file = written(tmp_path / "whole.jsonl", *items)
    done = agentstate("ingest", file, "--json").json
    assert (done["already"], done["stored"]) == (kept[0], 1_200 - kept[0])
    assert counted() == (1_200, 1_200)
