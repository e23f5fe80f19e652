"""`python -m tests.chaos.money`: kill everywhere, print and write one table, exit with 1 when a promise is missed."""

from __future__ import annotations

import time
from pathlib import Path

import click

from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import json_file_option, make_console, write_and_exit
from tests.chaos.money.ground import Ground
from tests.chaos.money.program import Program
from tests.chaos.money.report import print_lines

BUILD = ROOT / "build" / "chaos.json"
_SPEAK_EVERY_S = 5.0


class Speaker:
    """Progress on standard error: every new step, and now and then how far it is."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._subject, self._next = "", 0.0

    def say(self, text: str) -> None:
        """Say it, unless something of the same step was said just now."""
        now, subject = time.monotonic(), text.rpartition(": ")[0]
        if subject != self._subject or now >= self._next:
            self._subject, self._next = subject, now + _SPEAK_EVERY_S
            click.echo(f"  {now - self._began:4.0f} s  {text}", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--sample", type=click.IntRange(min=0), default=0, help="Try this many points of each kind, not all.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is drawn.")
@click.option("--postgres", help="URL of a Postgres server to use; one is started when left out.")
@json_file_option(BUILD)
def main(*, sample: int, seed: int, postgres: str | None, json_file: Path) -> None:
    """Kill processes that spend money at every point, let others come back, and count what happened outside."""
    out, lines, speaker, began = make_console(), [], Speaker(), time.monotonic()
    with Ground(postgres) as ground:
        for line in Program(ground, seed=seed, sample=sample, say=speaker.say).lines():
            lines.append(line)
            if line.verdict == "MISSED":
                speaker.say(f"MISSED: {line.tally.name}")
    rows = [row for line in lines for row in line.rows]
    which = f"a sample of {sample}" if sample else "every point"
    print_lines(out, f"A bet of an agent, killed and come back to ({which}, {time.monotonic() - began:.0f} s)", lines)
    write_and_exit(out, json_file, rows)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.money")
