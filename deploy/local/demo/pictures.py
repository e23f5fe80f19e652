"""The report as pictures, for the documentation: `make demo ARGS='--pictures docs/pictures'` makes them anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from deploy.local import pictures
from deploy.local.demo.facts import Facts
from deploy.local.demo.promises import Verdict
from deploy.local.demo.report import print_end, print_report


def draw(folder: Path, facts: Facts, verdicts: Sequence[Verdict]) -> None:
    """Write `demo-report.svg`, the whole report, and `demo-promises.svg`, its end."""
    _draw(folder / "demo-report.svg", lambda out: print_report(out, facts, verdicts))
    _draw(folder / "demo-promises.svg", lambda out: print_end(out, facts, verdicts))


def _draw(path: Path, write: Callable[[Console], None]) -> None:
    def whole(out: Console) -> None:
        write(out)
        out.print("all promises were kept")

    pictures.draw(path, "make demo", whole)
