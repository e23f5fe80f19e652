"""Transcripts: every good turn is taken, every bad one named by its line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from agentstate.errors import InvalidInput
from agentstate.memory.ingest.transcripts import Parsed, Problem, TranscriptTurn, TurnReader, read_transcript
from agentstate.settings import Settings

SETTINGS = Settings.model_construct(max_text_bytes=262_144, max_payload_bytes=65_536)
GOOD = {"agent": "a", "session": "s", "speaker": "Ann", "time": "2026-11-22T10:30:00Z", "text": "hello"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.load(database_url="sqlite:///unused.db")


def written(folder: Path, content: str | bytes, name: str = "t.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def taken(parsed: list[Parsed]) -> list[TranscriptTurn]:
    return [item for item in parsed if isinstance(item, TranscriptTurn)]


def problems(parsed: list[Parsed]) -> list[str]:
    return [str(item) for item in parsed if isinstance(item, Problem)]


def test_lines_are_read_and_bad_ones_named(tmp_path: Path, settings: Settings) -> None:
    lines = [
        json.dumps(GOOD),
        "",
        '{"agent": "a", ',
        json.dumps(GOOD | {"text": " "}),
        json.dumps(GOOD | {"agent": "../x"}),
        json.dumps(GOOD | {"text": "x" * 300_000}),
        "[1]",
        json.dumps(GOOD | {"text": "bye"}),
    ]
    parsed = list(read_transcript(written(tmp_path, "\n".join(lines)), settings))
    assert [(item.line, item.turn.text) for item in taken(parsed)] == [(1, "hello"), (8, "bye")]
    found = problems(parsed)
    assert [line.split()[1].rstrip(":") for line in found] == ["3", "4", "5", "6", "7"]
    for line, said in zip(found, ("not valid JSON", "empty", "agent id", "300,000 bytes", "a list"), strict=True):
        assert said in line


def test_bytes_that_are_no_text_spoil_one_line(tmp_path: Path, settings: Settings) -> None:
    good = json.dumps(GOOD).encode()
    parsed = list(read_transcript(written(tmp_path, good + b"\n\xff\xfe{}\n" + good), settings))
    assert len(taken(parsed)) == 2
    assert problems(parsed) == ["line 2: it is not UTF-8: byte 0 cannot be read."]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_array_is_read_element_by_element(tmp_path: Path, settings: Settings, mark: str) -> None:
    text = f"{mark}[\n{json.dumps(GOOD)},\n\n{json.dumps(GOOD | {'text': 'bye'})}\n]"
    parsed = list(read_transcript(written(tmp_path, text, "t.json"), settings))
    assert [(item.line, item.turn.text) for item in taken(parsed)] == [(2, "hello"), (4, "bye")]


def test_what_comes_before_a_fault_in_an_array_is_taken(tmp_path: Path, settings: Settings) -> None:
    text = f"[{json.dumps(GOOD)},\n{{oops"
    parsed = list(read_transcript(written(tmp_path, text, "t.json"), settings))
    assert len(taken(parsed)) == 1
    assert "line 2: it is not valid JSON" in problems(parsed)[0]


@pytest.mark.parametrize("text", ["[", "[{}", "[1 2]", "[]x", "{", "", "null", "\x00", "[" * 100_000])
def test_broken_files_give_problems_and_no_crash(tmp_path: Path, settings: Settings, text: str) -> None:
    assert taken(list(read_transcript(written(tmp_path, text, "t.json"), settings))) == []


def test_json_lines_in_a_json_file_are_read(tmp_path: Path, settings: Settings) -> None:
    text = f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n"
    assert len(taken(list(read_transcript(written(tmp_path, text, "t.json"), settings)))) == 2
    assert len(taken(list(read_transcript(written(tmp_path, json.dumps(GOOD), "u.json"), settings)))) == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InvalidInput, match=r"none\.jsonl cannot be opened"):
        list(read_transcript(tmp_path / "none.jsonl", settings))


def test_equal_turns_get_ids_of_their_own_and_the_same_ones_each_time(settings: Settings) -> None:
    def ids() -> list[str | None]:
        reader = TurnReader(settings)
        return [item.turn.source_id for _ in range(3) for item in taken(list(reader.read_turns(1, GOOD)))]

    assert len(set(ids())) == 3
    assert ids() == ids()


@pytest.mark.parametrize(
    ("time", "read"),
    [
        ("2026-11-22T10:30:00+02:00", datetime(2026, 11, 22, 8, 30, tzinfo=UTC)),
        ("2026-11-22 10:30", datetime(2026, 11, 22, 10, 30, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc(settings: Settings, time: Any, read: datetime) -> None:
    (item,) = taken(list(TurnReader(settings).read_turns(1, GOOD | {"time": time})))
    assert item.turn.at == read


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time", None),
        ("time", "yesterday"),
        ("time", 1e300),
        ("time", True),
        ("id", 1.5),
        ("id", ""),
        ("id", "i" * 201),
        ("role", "boss"),
        ("speaker", 7),
        ("session", "a/b"),
        ("agent", None),
        ("text", "a\x00b"),
        ("text", "\ud800"),
        ("metadata", []),
        ("metadata", {"a": "\x00"}),
        ("note", "n" * 70_000),
    ],
)
def test_a_bad_field_is_named(settings: Settings, field: str, value: Any) -> None:
    (problem,) = TurnReader(settings).read_turns(7, GOOD | {field: value})
    assert isinstance(problem, Problem)
    assert problem.line == 7


def test_other_fields_are_kept_beside_the_turn(settings: Settings) -> None:
    (item,) = taken(list(TurnReader(settings).read_turns(1, GOOD | {"mood": "calm", "metadata": {"n": 1}})))
    assert item.metadata == {"mood": "calm", "n": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings_of_hypothesis(max_examples=60)
@given(st.dictionaries(st.sampled_from([*GOOD, "id", "role", "metadata", "x"]), JSON), JSON)
def test_no_object_makes_the_reader_fail(fields: dict[str, Any], other: Any) -> None:
    reader = TurnReader(SETTINGS)
    assert len(list(reader.read_turns(1, GOOD | fields))) == 1
    assert isinstance(next(iter(reader.read_turns(1, other)), None), Problem | TranscriptTurn)


def test_locomo_conversations_are_read(settings: Settings) -> None:
    sample = {
        "sample_id": "conv-1",
        "qa": [],
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bo",
            "session_2_date_time": "1:05 am on 9 May, 2023",
            "session_2": [{"speaker": "Ann", "dia_id": "D2:1", "text": "again", "blip_caption": "a boat"}],
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ann", "dia_id": "D1:1", "text": "hi"},
                {"speaker": "Bo", "dia_id": "D1:2", "text": ""},
                "odd",
            ],
            "session_3": [{"speaker": "Bo", "dia_id": "D3:1", "text": "no date"}],
            "session_4_date_time": "8 May",
        },
    }
    parsed = list(TurnReader(settings).read_turns(1, sample))
    first, last = taken(parsed)
    assert (first.agent_id, first.turn.source_id, first.turn.role, first.turn.at) == (
        "conv-1",
        "D1:1",
        "user",
        datetime(2023, 5, 8, 13, 56, tzinfo=UTC),
    )
    assert (last.turn.text, last.metadata) == ("again [image: a boat]", {"part": 2})
    assert [item.where for item in parsed if isinstance(item, Problem)] == [
        "conv-1 session_1 turn 2",
        "conv-1 session_1 turn 3",
        "conv-1 session_3 turn 1",
    ]
