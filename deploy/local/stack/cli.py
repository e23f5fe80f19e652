"""The command line of the one-machine stack: `python -m deploy.local up|down|status|logs|restart`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agentstate.errors import AgentStateError
from deploy.local.stack import control
from deploy.local.stack.control import INTERRUPTED, interrupt_once, read_status
from deploy.local.stack.errors import NotRunning, StackError
from deploy.local.stack.folder import DEFAULT_DATA, Folder
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import EVERYTHING, SERVERS, SETTINGS_OF

WITH_PORT = (*SERVERS, "flower")

data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, envvar="STACK_DATA",
    help="Data folder of the stack.  [default: .agentstate in the repository]",
)  # fmt: skip


def port_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add one option for the port of each server."""
    for name in reversed(WITH_PORT):
        option = click.option(
            f"--{name}-port", type=click.IntRange(1, 65_535), envvar=f"STACK_{name.upper()}_PORT",
            help=f"Port of {name} on loopback; left out, the one it had before, else a free one.",
        )  # fmt: skip
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run the whole system on this machine: servers, workers, beat and Flower."""


@cli.command()
@data_option
@click.option("--foreground", is_flag=True, help="Stay and supervise until Ctrl-C, rather than in the background.")
@click.option("--only", help=f"Processes to start, separated by commas, out of: {', '.join(EVERYTHING)}.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting for all; repeatable.")
@click.option("--money-workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Workers on the books.")
@click.option("--io-threads", type=click.IntRange(1, 256), default=8, show_default=True, help="Threads of worker-io.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the sandbox of the services.")
@click.option("--redis-server", envvar="STACK_REDIS_SERVER", help="Redis or Valkey server program.")
@click.option(
    "--postgres-bin", type=click.Path(path_type=Path), envvar="STACK_POSTGRES_BIN", help="Folder of Postgres' programs."
)
@click.option("--report", type=int, hidden=True, help="File descriptor that is told each step.")
@port_options
def up(
    *, data: Path, foreground: bool, only: str | None, settings: tuple[str, ...], report: int | None, **choices: Any
) -> None:
    """Start everything and return when it is ready. All data of the last run is there again."""
    ports = {name: port for name in WITH_PORT if (port := choices.pop(f"{name}_port")) is not None}
    steps = control.StartReport(report)
    stack = Stack(
        data,
        only=only.split(",") if only else EVERYTHING,
        settings=dict(_parse_setting(text) for text in settings),
        progress=steps.report_progress,
        ports=ports,
        **choices,
    )
    if foreground:
        # Start, then wait for a signal; SIGINT, SIGTERM and a closed terminal stop everything.
        interrupt_once()
        signal.signal(signal.SIGUSR1, lambda _number, _frame: stack.retry_given_up())
        try:
            stack.start()
            steps.report_ready()
            threading.Event().wait()
        except AgentStateError as error:
            steps.report_failure(error.message)
            raise
        except KeyboardInterrupt:
            steps.report_progress("stopping")
        finally:
            stack.stop()
        steps.report_progress("stopped; all data was kept")
    else:
        # Another one does it; what is wrong with the options was said by making this one.
        _start_in_background(Folder(data))


@cli.command()
@data_option
def down(data: Path) -> None:
    """Stop everything; no process is left, all data is kept."""
    try:
        control.stop_stack(Folder(data), click.echo)
    except NotRunning as nothing:
        click.echo(nothing.message)
    else:
        click.echo("stopped; all data was kept")


@cli.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data: Path, *, as_json: bool) -> None:
    """Show the processes. Exit code 0 when all run, else 3."""
    found = read_status(Folder(data))
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())
    sys.exit(0 if found.is_well else 3)


@cli.command()
@data_option
@click.option("-n", "--lines", type=click.IntRange(1), default=40, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.argument("process")
def logs(data: Path, lines: int, process: str, *, follow: bool) -> None:
    """Show the end of a process's log; `supervisor` is a process too."""
    path = Folder(data).log_of(process)
    if not path.is_file():
        there = sorted(found.stem for found in path.parent.glob("*.log"))
        raise StackError(f"there is no log of {process} in {path.parent}; there are {', '.join(there) or 'none'}.")
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)]
    sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 our own command


@cli.command()
@data_option
@click.argument("process")
def restart(data: Path, process: str) -> None:
    """Stop one process; its supervisor starts it again."""
    control.restart_process(Folder(data), process)
    click.echo(f"{process} is started again; `status` shows it.")


def _start_in_background(folder: Folder) -> None:
    if folder.is_claimed():
        found = read_status(folder)
        click.echo(f"a stack runs on {folder.path} already; nothing was started.\n\n{found.as_text()}")
        return
    ours = {name for names in SETTINGS_OF.values() for name in names}
    exported = sorted(ours & os.environ.keys())
    if exported:
        click.echo(
            f"note: {', '.join(exported)} set in your environment: commands in this shell use that, not this stack. "
            "Unset it to use the stack.",
            err=True,
        )
    try:
        control.start_detached(folder, sys.argv[2:], click.echo)
    except KeyboardInterrupt:
        click.echo("interrupted; everything was stopped again, all data was kept", err=True)
        sys.exit(INTERRUPTED)
    click.echo(_where_things_are(folder))


def _where_things_are(folder: Folder) -> str:
    urls = folder.read_record().get("urls", {})
    default = folder.path == DEFAULT_DATA
    python, agentstate = _program_path("python"), _program_path("agentstate")
    look = "make status" if default else f"{python} -m deploy.local status --data {folder.path}"
    stop = "make down" if default else f"{python} -m deploy.local down --data {folder.path}"
    prefix = "" if default else f"AGENTSTATE_ENV_FILE={folder.env_file} "
    return "\n".join([
        "",
        *(f"  {name:<10}{url}" for name, url in urls.items()),
        f"  settings  {folder.env_file} (with the passwords; Flower's user is `agent`)",
        f"  logs      {folder.logs}",
        "",
        f"  look      {look}; {prefix}{agentstate} status",
        f"  stop      {stop}",
    ])  # fmt: skip


def _program_path(name: str) -> str:
    """Return the call of a program of this environment, relative to the current folder if possible."""
    path, here = Path(sys.executable).with_name(name), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _parse_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise StackError(f"--set {text}: write NAME=VALUE. Nothing was started.")
    return name, value


def main() -> None:
    """Run a command; an error is printed as one line, with exit code 1."""
    try:
        cli(prog_name="python -m deploy.local")
    except AgentStateError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(1)
