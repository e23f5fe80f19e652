"""`python -m tests.chaos.conversation`: the run, its table, `build/chaos-conversation.json`, and 1 when a turn was lost
or a figure made up."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import click

from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import json_file_option, make_console, print_rows, write_and_exit
from tests.chaos.conversation.run import Plan, run
from tests.chaos.conversation.world import whole_stack

BUILD = ROOT / "build" / "chaos-conversation.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--conversations", type=click.IntRange(1), default=200, show_default=True, help="How many.")
@click.option("--turns", type=click.IntRange(1), default=7, show_default=True, help="Of each of the four writers.")
@click.option("--kills", type=click.IntRange(0, 5), default=5, show_default=True, help="Of the worker.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of what is drawn.")
@json_file_option(BUILD)
def main(*, conversations: int, turns: int, kills: int, seed: int, json_file: Path) -> None:
    """Write to conversations while the provider fails and the worker is killed, and look for what is lost."""
    out = make_console()
    with tempfile.TemporaryDirectory(prefix="agentstate-chaos-") as base:
        plan = Plan(conversations, turns, kills, seed)
        rows = list(run(partial(whole_stack, Path(base)), plan, say=lambda text: click.echo(f"  {text}", err=True)))
    print_rows(out, "Conversations under fire", rows)
    write_and_exit(out, json_file, rows)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos.conversation")
