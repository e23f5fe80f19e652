"""The report as pictures, for the documentation: `make demo ARGS='--pictures docs/pictures'` makes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from deploy.local.demo.facts import Facts
from deploy.local.demo.promises import Verdict
from deploy.local.demo.report import print_end, print_report

WIDTH = 108
_FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'
# Rich's own form fetches its font from elsewhere; a picture in a repository should not.
_FORM = re.sub(r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", _FONTS
)


def draw(folder: Path, facts: Facts, verdicts: Sequence[Verdict]) -> None:
    """Write `demo-report.svg`, the whole report, and `demo-promises.svg`, its end."""
    _draw(folder / "demo-report.svg", lambda out: print_report(out, facts, verdicts))
    _draw(folder / "demo-promises.svg", lambda out: print_end(out, facts, verdicts))


def _draw(path: Path, write: Callable[[Console], None]) -> None:
    out = Console(record=True, force_terminal=True, width=WIDTH, highlight=False, file=StringIO())
    write(out)
    out.print("all promises were kept")
    out.save_svg(str(path), title="make demo", code_format=_FORM, unique_id="report")
