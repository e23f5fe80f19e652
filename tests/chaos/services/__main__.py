"""`python -m tests.chaos.services`: the fleet under every fault of the services, on servers of its own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from agentstate.store.migrate import upgrade_schema
from agentstate.store.store import Store
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import json_file_option, make_console, print_rows, write_and_exit
from deploy.local.stack.stack import Stack
from tests.chaos.services.run import groups_of, run
from tests.worlds.fast_folder import fast_folder

BUILD = ROOT / "build" / "chaos-services.json"
ODDS = 0.12


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--operations", default=23_000, show_default=True, help="How many, over all six services.")
@click.option(
    "--processes", default=3, show_default=True, help="Processes of the fleet; every third speaks own routes."
)
@click.option("--seed", default=7, show_default=True, help="Of the fleet and of the faults.")
@click.option("--odds", default=ODDS, show_default=True, help="Probability of a fault at each operation.")
@json_file_option(BUILD)
def main(operations: int, processes: int, seed: int, odds: float, json_file: Path) -> None:
    """Run, print the table, and exit 1 when a promise was missed."""
    out = make_console()
    out.print(f"{operations} operations in {processes} processes, seed {seed}, a fault at {odds:.0%} of them")
    with (
        tempfile.TemporaryDirectory(dir=fast_folder(), prefix="agentstate-chaos-") as folder,
        Stack(Path(folder) / "data", only=("postgres", "sandbox"), seed=seed) as stack,
    ):
        database = stack.env["AGENTSTATE_DATABASE_URL"]
        sandbox = stack.env["AGENTSTATE_SERVICES_URL"].removesuffix("/api/v1")
        upgrade_schema(database)
        store = Store.open(database, pool_size=8)
        groups = groups_of(
            operations, processes=processes, sandbox=sandbox, database=database, folder=Path(folder), seed=seed
        )
        began = time.monotonic()
        found = run(groups, store, sandbox, seed=seed, odds=odds, say=lambda text: _say(out, began, text))
        store.close()
    print_rows(out, "The services under fire", found)
    write_and_exit(out, json_file, found)


def _say(out: Console, began: float, text: str) -> None:
    out.print(f"{time.monotonic() - began:6.1f} s  {text}")


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.services")
