"""Text from outside costs time in proportion to its length, whatever it holds: line breaks, blanks, brackets, tags."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from agentstate.errors import InvalidInput
from agentstate.memory.context.headings import escape_headings
from agentstate.memory.context.truncation import find_json_spans, find_split_points
from agentstate.memory.conversation.billing import count_tokens
from agentstate.memory.conversation.message_forms import parse_message
from agentstate.memory.conversation.messages import escape_markers
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.facts import find_facts
from agentstate.providers.summaries.figures import find_figures
from agentstate.providers.summaries.prompt import user_text
from agentstate.providers.summaries.records import find_record_lines
from agentstate.providers.summaries.summarizer import SourceTurn, SummaryRequest
from agentstate.providers.tokens import fit_tokens
from agentstate.state.secrecy import refuse_secrets

SMALL, LARGE = 4_000, 128_000
MOST_GROWTH = 4.0
"""How many times more a character may cost in the long text. Thirty-two times the text costs a quadratic pattern
thirty-two times as much a character: far from this bound on both sides, however busy the machine is."""


def split_everywhere(text: str) -> None:
    for _ in find_split_points(text, 0, len(text)):
        pass


def refuse_quietly(text: str) -> None:
    try:
        refuse_secrets({"note": text})
    except InvalidInput:
        return


def refuse_quietly_named(text: str) -> None:
    try:
        refuse_secrets({text: {"a": [text]}})
    except InvalidInput:
        return


def as_turn(text: str) -> SourceTurn:
    return SourceTurn(1, "user", "Ann", text, datetime(2026, 1, 1, tzinfo=UTC))


def read_facts(text: str) -> None:
    find_facts([as_turn(text)])


def ask_summary(text: str) -> None:
    user_text(SummaryRequest((as_turn(text),), previous=text), 1_000_000)


def write_digest(text: str) -> None:
    DigestSummarizer().summarize(SummaryRequest((as_turn(text),), previous=text))


def weigh_text(text: str) -> None:
    count_tokens({"type": "image", "source": {"type": "base64", "data": text}, "url": text, "note": text})


def parse_text(text: str) -> None:
    parse_message(
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": text}]}
    )


Work = Callable[[str], object]
BLANK = ("\n", " ", "\r\n", "\n\t")
CASES: tuple[tuple[str, Work, tuple[str, ...]], ...] = (
    ("markers", lambda text: escape_markers(text, ["Ann"]), (*BLANK, "[", "[ ", "user \n", "[12", "<b>")),
    ("headings", escape_headings, ("==", "== ", " =", "\u200b", "\u3000=")),
    ("splits", split_everywhere, (*BLANK, ". ", '."', "!?", "</tool>", "a\u0301", "[1 \n")),
    ("json", find_json_spans, ("[", "{", "[1,", '{"a":', '["', "[x ", "[1 \n")),
    (
        "secrets",
        refuse_quietly,
        (
            "sk-",
            "sk_a-",
            "eyJ",
            " ",
            "eyJ-",
            "eyJaaaaaaaaa.",
            "-----BEGIN ",
            "Bearer ",
            "://",
            "://a:",
            "xox",
            "a1-",
            "A ",
        ),
    ),
    ("secret names", refuse_quietly_named, ("_", "aB", "_key", "token_", "seed ")),
    (
        "figures",
        find_figures,
        ("1.", "1,", "one-", "one ", "-1", "0x", "a@", "a.", "$1 ", "1 000 ", "2026-", "x_1", "http://"),
    ),
    ("facts", read_facts, ("i owe ", "a. ", "\n", ".)", "due ", "1 EUR ", '{"a": 1}')),
    (
        "records",
        find_record_lines,
        ("1,", "{1", "[1", '{"a":"1"}', "<a1>", "|1|", "a: 1\n", "1  ", "- 1: ", '1"', "1;\n"),
    ),
    ("prompt", ask_summary, ("<", "< ", "</", "<transcript", "\n", "</ ")),
    ("digest", write_digest, ("I owe 5 EUR. ", "a b c d. ", "\n", "x: ")),
    ("media", weigh_text, ("A", "data:", "A=", "/Type /Page", "-_")),
    ("message", parse_text, ("data:", ";base64,", "[", "a\x00")),
    ("fit", lambda text: fit_tokens(text, 500), ("a ", "\n", "a")),
)


def cpu_s(work: Callable[[str], object], text: str, calls: int) -> float:
    """The least CPU time of one call, of several measurements of `calls` calls."""
    best = float("inf")
    for _ in range(2):
        began = time.process_time()
        for _ in range(calls):
            work(text)
        best = min(best, (time.process_time() - began) / calls)
    return best


def measure_growth(work: Work, unit: str) -> float:
    """How many times more CPU a character takes in a long text of repeated `unit`s than in a short one."""
    small, large = ((unit * size)[:size] for size in (SMALL, LARGE))
    return cpu_s(work, large, 1) / (LARGE / SMALL) / max(cpu_s(work, small, 16), 1e-9)


@pytest.mark.parametrize(
    ("work", "unit"),
    [pytest.param(work, unit, id=f"{name}-{unit!a}") for name, work, units in CASES for unit in units],
)
def test_a_character_costs_the_same_in_a_long_text(work: Work, unit: str) -> None:
    growth = measure_growth(work, unit)
    assert growth <= MOST_GROWTH, f"{unit!r}: a character of the long text costs {growth:.1f} times as much"


def test_a_quadratic_pattern_is_found() -> None:
    def search_each_rest(text: str) -> None:
        for start in range(0, len(text), 64):
            text[start:].find("x")

    assert measure_growth(search_each_rest, " ") > MOST_GROWTH
