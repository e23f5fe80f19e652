"""What all runs under fire share: a scenario as data, its options, its progress, its table and its file.

A scenario is a plan (a frozen dataclass whose fields are the command's options) and a function that plays it in a
folder of its own and yields rows. `python -m tests.chaos NAME` prints the rows as one table, writes them into `build/`,
and exits with 1 when a row misses its bar.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, make_console, print_rows, write_and_exit
from tests.worlds.fast_folder import fast_folder

SPEAK_EVERY_S = 5.0
"""Between two lines about the same step."""

Say = Callable[[str], None]


def option(default: Any, says: str, *, least: int | None = None) -> Any:
    """A field of a plan that is an option of its command."""
    return field(default=default, metadata={"help": says, "least": least})


@dataclass(frozen=True)
class Scenario:
    """One kind of run."""

    title: str
    file: str
    """Name of the file in `build/`, without its ending."""
    plan: type[Any]
    play: Callable[[Path, Any, Say], Iterable[Any]]
    """Plays a plan in a folder; yields rows, or lines that have `rows`."""
    show: Callable[[Console, str, Sequence[Any]], None] = print_rows

    def command(self, name: str) -> click.Command:
        """Return the command that plays it."""
        known = [each for each in fields(self.plan) if each.metadata]
        options = [
            click.Option(
                [f"--{each.name.replace('_', '-')}"],
                default=each.default,
                show_default=True,
                type=None if each.metadata["least"] is None else click.IntRange(each.metadata["least"]),
                help=each.metadata["help"],
            )
            for each in known
        ]
        file = click.Option(
            ["--json", "json_file"], type=click.Path(path_type=Path, dir_okay=False),
            default=ROOT / "build" / f"{self.file}.json", help="Where to write.",
        )  # fmt: skip
        return click.Command(name, params=[*options, file], callback=self.run, help=self.play.__doc__)

    def run(self, json_file: Path, **options: Any) -> None:
        """Play it, print the table, write the file and exit."""
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        out, speaker = make_console(), Speaker()
        with tempfile.TemporaryDirectory(prefix="agentstate-chaos-", dir=fast_folder()) as folder:
            found = list(self.play(Path(folder), self.plan(**options), speaker.say))
        self.show(out, f"{self.title} ({time.monotonic() - speaker.began:.0f} s)", found)
        write_and_exit(out, json_file, rows_of(found))


def rows_of(found: Iterable[Any]) -> list[Row]:
    """The rows of what a scenario yielded."""
    return [row for item in found for row in ([item] if isinstance(item, Row) else item.rows)]


class Speaker:
    """Progress on standard error: every new step, and now and then how far it is."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._step, self._next = "", 0.0

    def say(self, text: str) -> None:
        """Say it, unless something of the same step (the text before its last colon) was said just now."""
        now, step = time.monotonic(), text.rpartition(": ")[0]
        if not step or step != self._step or now >= self._next:
            self._step, self._next = step, now + SPEAK_EVERY_S
            click.echo(f"  {now - self.began:4.0f} s  {text}", err=True)
