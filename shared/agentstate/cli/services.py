"""`agentstate services`: check the services file and the services that it leads to, and begin a new file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb, Verbs
from agentstate.errors import ConfigurationError, InvalidInput


@click.group(cls=Verbs)
def services() -> None:
    """Check the services file, or begin a new one."""


@services.command(cls=Verb)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--offline", is_flag=True, help="Look up the entries only; ask no service.")
@pass_invocation
@click.pass_context
def check(context: click.Context, invocation: Invocation, file: Path | None, *, offline: bool) -> None:
    """Look up every entry of the services FILE (AGENTSTATE_SERVICES_FILE when left out) and ask every service once.

    Exit code 1 when something fails. Nothing is changed, and no secret is shown.
    """
    from agentstate.services.http.services_check import FAIL, check_entries, check_services
    from agentstate.services.http.services_file import ServicesFile

    path = file or invocation.settings.services_file
    if path is None:
        raise ConfigurationError("AGENTSTATE_SERVICES_FILE is not set; name the file: agentstate services check FILE.")
    opened = ServicesFile(path)
    found = [*check_entries(opened), *([] if offline else check_services(opened))]
    if invocation.as_json:
        output.print_document([asdict(each) for each in found])
    else:
        rows = [(each.about, each.verdict, each.found, each.remedy) for each in found]
        output.print_table(("about", "verdict", "found", "remedy"), rows)
    context.exit(1 if any(each.verdict == FAIL for each in found) else 0)


@services.command(cls=Verb)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_invocation
def init(invocation: Invocation, file: Path) -> None:
    """Write a services FILE with every kind of entry and comments; never over another file."""
    from agentstate.services.http.services_check import template

    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(template())
    except FileExistsError:
        raise InvalidInput(f"{file} is there already; nothing was written. Name another file.") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}.") from error
    if invocation.as_json:
        output.print_document({"file": str(file)})
    else:
        output.print_line(f"{file} written; fill it in, then run `agentstate services check {file}`")
