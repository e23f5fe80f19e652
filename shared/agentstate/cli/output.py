"""Output of commands: one JSON document, or text; tables are drawn on a terminal, and plain columns elsewhere.

Text of others (memories, errors) may contain control characters, which a terminal would execute; they are escaped.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import click

Advance: TypeAlias = Callable[[int, int | None, str], None]
"""Called with the amount done, the total (None: unknown), and a remark."""

_NARROWEST = 20
_NARROW = 80
"""Columns of a terminal below which a list that does not fit is printed as records, so that nothing is cut."""
_STYLES = {
    "ok": "green", "up": "green", "done": "green", "searchable": "green",
    "warn": "yellow", "running": "cyan", "skipped": "dim",
    "fail": "red", "dead": "red", "down": "red", "discarded": "dim",
}  # fmt: skip


def print_document(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_json_value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under headers; on a narrow terminal each row as a record."""
    cells = [[format_cell(value) for value in row] for row in rows]
    if is_terminal():
        _draw_table(headers, cells)
    else:
        _print_columns([list(headers), *cells])


def print_facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print `name: value` lines, the values under each other."""
    _print_columns([[f"{name}:", format_cell(value)] for name, value in pairs])


def print_line(text: str) -> None:
    """Print one line."""
    click.echo(escape_controls(text))


def print_note(text: str) -> None:
    """Print a remark on standard error, apart from the command's output."""
    click.echo(escape_controls(text), err=True)


def format_cell(value: Any) -> str:
    """Return a value as text on one line."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape_controls(f"{value:,}" if isinstance(value, int) else str(value))


def escape_controls(text: str) -> str:
    """Return `text` on one line, with control characters escaped."""
    return "".join(
        (letter if unicodedata.category(letter) not in {"Cc", "Cs"} else letter.encode("unicode_escape").decode())
        for letter in " ".join(text.split())
    )


def shorten_text(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters."""
    one_line = escape_controls(text)
    return one_line if len(one_line) <= width else f"{one_line[: max(width - 3, 0)]}..."


def count_noun(count: int, noun: str) -> str:
    """Return the count with its noun: `1 turn`, `2 turns`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_duration(seconds: float | None) -> str:
    """Return a duration with a fitting unit: `1.5 min`."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def is_terminal() -> bool:
    """Whether standard output is a terminal that can show drawings."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def width_left(taken: int) -> int:
    """Return the width left on a line after `taken` characters; unlimited when the output is no terminal."""
    return max(shutil.get_terminal_size().columns - taken, _NARROWEST) if is_terminal() else 1_000_000


def _draw_table(headers: Sequence[str], cells: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    widths = [max(len(text) for text in column) for column in zip(headers, *cells, strict=True)]
    columns = shutil.get_terminal_size().columns
    if columns < _NARROW and sum(widths) + 2 * len(widths) > columns:
        for row in cells:
            print_facts(zip(headers, row, strict=True))
            click.echo()
        return
    # The first column is for copying, so it is never wrapped; the others wrap, and nothing is cut.
    first = Column(headers[0], no_wrap=True, min_width=widths[0])
    others = [Column(header, overflow="fold") for header in headers[1:]]
    drawn = Table(first, *others, box=box.SIMPLE, header_style="bold", pad_edge=False)
    for row in cells:
        drawn.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in row))
    Console().print(drawn)


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(len(row[position]) for row in rows) for position in range(len(rows[0]))] if rows else []
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@contextmanager
def show_progress(title: str, *, shown: bool) -> Iterator[Advance]:
    """Show a progress bar while the block runs."""
    if not shown or not can_draw():
        yield lambda _done, _total, _remark: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[remark]}"), console=Console(stderr=True)) as drawn:
        task = drawn.add_task(title, total=None, remark="")
        yield lambda done, total, remark: drawn.update(task, completed=done, total=total, remark=remark)


def can_draw() -> bool:
    """Whether standard error is a terminal that can show drawings."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
