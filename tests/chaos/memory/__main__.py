"""`python -m tests.chaos.memory`: the run, its table, `build/chaos-memory.json`, and 1 when something was lost."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import click

from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import json_file_option, make_console, print_rows, write_and_exit
from tests.chaos.memory.run import Plan, run

BUILD = ROOT / "build" / "chaos-memory.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--memories", type=click.IntRange(1), default=20_000, show_default=True, help="How many to remember.")
@click.option("--kills", type=click.IntRange(0), default=5, show_default=True, help="Of each process at least.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is drawn.")
@click.option("--rebuild-kills", type=click.IntRange(0), default=3, show_default=True, help="Of each index command.")
@json_file_option(BUILD)
def main(*, memories: int, kills: int, seed: int, rebuild_kills: int, json_file: Path) -> None:
    """Kill worker, index, Redis and Postgres at random while agents remember, and count what is left.

    Then the index is filled anew and moved to another model, by commands that are killed at random too.
    """
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    out = make_console()
    with tempfile.TemporaryDirectory(prefix="agentstate-chaos-") as base:
        plan = Plan(memories, kills, seed, rebuild_kills=rebuild_kills)
        rows = list(run(Path(base), plan, say=lambda text: click.echo(f"  {text}", err=True)))
    print_rows(out, "Memories under kill -9", rows)
    write_and_exit(out, json_file, rows)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.memory")
