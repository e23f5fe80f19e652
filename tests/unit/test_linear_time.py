"""Text from outside costs time in proportion to its length, whatever it holds: line breaks, blanks, brackets, tags."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from agentstate.errors import InvalidInput
from agentstate.memory.context.headings import escape_headings
from agentstate.memory.context.split_points import find_json_spans, find_split_points
from agentstate.memory.conversation.role_markers import escape_markers
from agentstate.state.secrecy import refuse_secrets

SMALL, LARGE = 8_000, 64_000
MOST_GROWTH = 1.3


def split_everywhere(text: str) -> None:
    for _ in find_split_points(text, 0, len(text)):
        pass


def refuse_quietly(text: str) -> None:
    try:
        refuse_secrets({"note": text})
    except InvalidInput:
        return


Work = Callable[[str], object]
BLANK = ("\n", " ", "\r\n", "\n\t")
CASES: tuple[tuple[str, Work, tuple[str, ...]], ...] = (
    ("markers", lambda text: escape_markers(text, ["Ann"]), (*BLANK, "[", "[ ", "user \n", "[12", "<b>")),
    ("headings", escape_headings, ("==", "== ", " =", "\u200b", "\u3000=")),
    ("splits", split_everywhere, (*BLANK, ". ", '."', "!?", "</tool>", "a\u0301", "[1 \n")),
    ("json", find_json_spans, ("[", "{", "[1,", '{"a":', '["', "[x ", "[1 \n")),
    ("secrets", refuse_quietly, ("sk-", "sk_a-", "eyJ", " ")),
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


@pytest.mark.parametrize(
    ("work", "unit"),
    [pytest.param(work, unit, id=f"{name}-{unit!a}") for name, work, units in CASES for unit in units],
)
def test_eight_times_the_text_takes_eight_times_as_long(work: Work, unit: str) -> None:
    small, large = ((unit * size)[:size] for size in (SMALL, LARGE))
    growth = []
    for _ in range(6):  # CPU time is noisy; a quadratic pattern misses each time, by a factor of eight
        growth.append(cpu_s(work, large, 1) / (LARGE / SMALL) / max(cpu_s(work, small, 8), 1e-9))
        if growth[-1] <= MOST_GROWTH:
            return
    pytest.fail(f"{unit!r}: time grows {min(growth):.2f} times as fast as the text")
