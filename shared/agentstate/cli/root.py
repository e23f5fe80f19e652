"""The root of the command: its global options and the list of its verbs."""

from __future__ import annotations

from pathlib import Path

import click

from agentstate.cli.completion import completion_command
from agentstate.cli.index import index
from agentstate.cli.invocation import Invocation
from agentstate.cli.jobs import jobs
from agentstate.cli.ledger import ledger
from agentstate.cli.memories import forget, history, ingest, recall, remember
from agentstate.cli.money import breaks, effects, guards
from agentstate.cli.operations import doctor_command, metrics_command, migrate_command, status_command
from agentstate.cli.services import services
from agentstate.cli.verb import Root
from agentstate.distribution import package_version


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file to read instead of AGENTSTATE_ENV_FILE or .agentstate/env; the environment still wins.",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show where in the program an error happened.")
@click.version_option(package_version(), message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, env_file: Path | None) -> None:
    """Durable memory and money state for AI agents.

    Exit codes: 0 done, 1 failed (the error says what was kept and what to do), 2 wrong usage.
    """
    context.obj = Invocation(env_file)
    context.call_on_close(context.obj.close)


for verb in (
    status_command,
    doctor_command,
    metrics_command,
    migrate_command,
    remember,
    recall,
    history,
    forget,
    ingest,
    index,
    ledger,
    effects,
    breaks,
    guards,
    jobs,
    services,
    completion_command,
):
    cli.add_command(verb)
