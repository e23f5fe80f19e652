"""`python -m tests.chaos.memory`: the run, its table, `build/chaos-memory.json`, and 1 when something was lost."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import click

from deploy.local.folder import ROOT
from deploy.local.results import all_met, console, print_rows, write_rows
from tests.chaos.memory.run import Plan, run

BUILD = ROOT / "build" / "chaos-memory.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--memories", type=click.IntRange(1), default=20_000, show_default=True, help="How many to remember.")
@click.option("--kills", type=click.IntRange(0), default=5, show_default=True, help="Of each process at least.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is drawn.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), default=BUILD, help="Where to write."
)
def main(*, memories: int, kills: int, seed: int, json_file: Path) -> None:
    """Kill worker, index, Redis and Postgres at random while agents remember, and count what is left."""
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    out = console()
    with tempfile.TemporaryDirectory(prefix="agentstate-chaos-") as base:
        rows = list(run(Path(base), Plan(memories, kills, seed), say=lambda text: click.echo(f"  {text}", err=True)))
    print_rows(out, "Memories under kill -9", rows)
    write_rows(json_file, rows)
    out.print(f"written: {json_file}", soft_wrap=True)
    sys.exit(0 if all_met(rows) else 1)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.memory")
