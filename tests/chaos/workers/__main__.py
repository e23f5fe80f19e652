"""`python -m tests.chaos.workers`: the run, its table, `build/chaos-workers.json`, and 1 when a bet doubled or lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import json_file_option, make_console, print_rows, write_and_exit
from tests.chaos.workers.run import Plan, run

BUILD = ROOT / "build" / "chaos-workers.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--bets", type=click.IntRange(1), default=1_500, show_default=True, help="How many to queue.")
@click.option("--kills", type=click.IntRange(3), default=110, show_default=True, help="How many processes to kill.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is drawn.")
@json_file_option(BUILD)
def main(*, bets: int, kills: int, seed: int, json_file: Path) -> None:
    """Kill children of pools and whole workers at random while they bet, and count what the casino did."""
    out = make_console()
    with tempfile.TemporaryDirectory(prefix="agentstate-chaos-") as base:
        rows = run(Path(base), Plan(bets, kills, seed), say=lambda text: click.echo(f"  {text}", err=True))
    print_rows(out, "Bets through workers under kill -9", rows)
    write_and_exit(out, json_file, rows)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.workers")
