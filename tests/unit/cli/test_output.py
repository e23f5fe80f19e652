"""Text for people: no control character reaches a terminal, and nothing is drawn where nobody looks."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from agentstate.cli import output

ROOT = Path(__file__).parents[3]


def test_control_characters_are_shown_instead_of_sent() -> None:
    assert output.escape_controls("a\x1b[31mred\x07\x9bX") == "a\\x1b[31mred\\x07\\x9bX"
    assert output.escape_controls(" two\n lines\t ") == "two lines"
    assert output.escape_controls("café 😀 \ud800") == "café 😀 \\ud800"


def test_counts_agree_with_their_noun() -> None:
    assert [output.count_noun(count, "turn") for count in (0, 1, 2_000)] == ["0 turns", "1 turn", "2,000 turns"]


def test_long_text_is_cut_to_its_width() -> None:
    assert output.shorten_text("abcdefghij", 10) == "abcdefghij"
    assert output.shorten_text("abcdefghijk", 10) == "abcdefg..."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "-"), (0.25, "0.2 s"), (59.94, "59.9 s"), (90, "1.5 min"), (7_200, "2.0 h"), (86_400, "1.0 d")],
)
def test_lengths_of_time_are_said_as_people_do(seconds: float | None, said: str) -> None:
    assert output.format_duration(seconds) == said


def test_unknown_is_a_dash_and_never_a_zero() -> None:
    assert output.format_cell(None) == "-"
    assert output.format_cell(0) == "0"
    assert output.format_cell(1234567) == "1,234,567"


def test_a_document_keeps_decimals_exact(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_document({"amount": Decimal("2.50")})
    assert json.loads(capsys.readouterr().out) == {"amount": "2.50"}


def test_a_table_is_plain_columns_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "count"), [("a", 1), ("long name", 22)])
    assert capsys.readouterr().out == "name       count\na          1\nlong name  22\n"


@pytest.mark.parametrize(("variables", "coloured", "drawn"), [
    ({"TERM": "xterm-256color"}, True, True),
    ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False, True),
    ({"TERM": "dumb"}, False, False),
])  # fmt: skip
def test_a_terminal_gets_a_drawing_in_the_colours_it_wants(
    variables: dict[str, str], *, coloured: bool, drawn: bool
) -> None:
    program = "from agentstate.cli import output; output.print_table(('part', 'state'), [('redis', 'up')])"
    shown = on_a_terminal([sys.executable, "-c", program], {"PYTHONPATH": str(ROOT / "shared"), **variables})
    assert "redis" in shown
    assert ("\x1b[32m" in shown) is coloured
    assert ("─" in shown) is drawn


def test_what_is_to_be_copied_is_never_cut() -> None:
    name, text = "01a20315-0b22-724d-b9aa-000000000001", "long " * 40
    program = f"from agentstate.cli import output; output.print_table(('id', 'text'), [({name!r}, {text!r})])"
    environment = {"PYTHONPATH": str(ROOT / "shared"), "TERM": "xterm", "COLUMNS": "60"}
    assert name in on_a_terminal([sys.executable, "-c", program], environment)


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What `command` writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        chunks = []
        while chunk := _read(ours):
            chunks.append(chunk)
    os.close(ours)
    return b"".join(chunks).decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side of a terminal was closed
        return b""


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 100])
def test_ids_and_amounts_are_whole_at_every_width(columns: int) -> None:
    key, amount = "01a20315-0b22-724d-b9aa-000000000001", "1,234,567.890123456789 USDC"
    row = (key, "casino", amount, "settled", "bet:2026-11-20:000981")
    headers = ("id", "service", "amount", "state", "key")
    program = f"from agentstate.cli import output; output.print_table({headers!r}, [{row!r}])"
    environment = {"PYTHONPATH": str(ROOT / "shared"), "TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"}
    shown = on_a_terminal([sys.executable, "-c", program], environment)
    assert key in shown
    assert "…" not in shown
    if columns < 80:
        for text in row:
            assert text in shown
