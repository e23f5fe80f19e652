"""Results of a long run as rows: printed as a table, written as JSON, compared with their bars.

The demonstration, the benchmarks and the runs under fire share this form, so that one reader serves them all.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import click
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Value: TypeAlias = int | float | str

PICTURE_WIDTH = 108
_FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'
# Rich's own form fetches its font from elsewhere; a picture in a repository should not.
_FORM = re.sub(r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", _FONTS
)
_PLAIN_WIDTH = 160
_WHOLE_FROM = 1_000


@dataclass(frozen=True)
class Row:
    """One row; `met` is None where nothing is asked for."""

    name: str
    value: Value
    unit: str = ""
    bar: str = ""
    reference: str = ""
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)


def at_most(name: str, value: float, limit: float, unit: str = "", reference: str = "") -> Row:
    """A row that is met when `value` is `limit` or less."""
    return Row(name, value, unit, f"<= {limit:g}", reference, value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "", reference: str = "") -> Row:
    """A row that is met when `value` is `limit` or more."""
    return Row(name, value, unit, f">= {limit:g}", reference, value >= limit)


def equal_to(name: str, value: int, wanted: int, unit: str = "", reference: str = "") -> Row:
    """A row that is met when `value` is `wanted`."""
    return Row(name, value, unit, f"= {wanted}", reference, value == wanted)


def all_met(rows: Sequence[Row]) -> bool:
    """Whether no row misses its bar."""
    return all(row.met is not False for row in rows)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=2, ensure_ascii=False) + "\n", "utf-8")


def json_file_option(default: Path) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option `--json`, given on as `json_file`: where the rows are written."""
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option("--json", "json_file", type=kind, default=default, help="Where to write.")


def write_and_exit(out: Console, path: Path, rows: Sequence[Row]) -> NoReturn:
    """Write the rows and exit: with 1 when one misses its bar."""
    write_rows(path, rows)
    out.print(f"written: {path}", soft_wrap=True)
    sys.exit(0 if all_met(rows) else 1)


def make_console() -> Console:
    """The terminal; wide and without colours when there is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def print_rows(out: Console, title: str, rows: Sequence[Row]) -> None:
    """Print the rows as one table."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    for name in ("what", "value", "unit", "bar", "reference", ""):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            format_value(row.value),
            row.unit,
            row.bar,
            row.reference,
            {None: "", True: "met", False: "MISSED"}[row.met],
        )
    out.print(table)


def format_value(value: Value) -> str:
    """A value for people: three significant figures of a fraction."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def draw_picture(path: Path, title: str, write: Callable[[Console], None], *, width: int = PICTURE_WIDTH) -> None:
    """Render the output of `write` on a terminal of `width` columns as an SVG file."""
    out = Console(record=True, force_terminal=True, width=width, highlight=False, file=StringIO())
    write(out)
    out.save_svg(str(path), title=title, code_format=_FORM, unique_id="report")
