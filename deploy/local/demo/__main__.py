"""`python -m deploy.local.demo`: run the demonstration and report; exit code 1 when a promise was broken."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console

from agentstate.errors import AgentStateError
from deploy.local.demo.promises import all_kept, check_promises, make_rows
from deploy.local.demo.report import print_end, print_report
from deploy.local.demo.scenario import Demo, DemoChoices, Progress
from deploy.local.demo.workers import DemoStack
from deploy.local.stack.control import INTERRUPTED, interrupt_once
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import draw_picture, make_console, write_rows

BUILD = ROOT / "build" / "demo.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave the stack running, and say how to look around.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write here.")
@click.option("--agents", type=click.IntRange(2, 200), default=12, show_default=True, help="Agents of the fleet.")
@click.option("--seconds", type=click.FloatRange(2, 3_600), default=60, show_default=True, help="How long they work.")
@click.option("--seed", type=int, default=7, show_default=True, help="Decides what they do and what goes wrong.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder; left out, a throw-away one.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting for all processes.")
@click.option("--pictures", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Draw the report here.")
@click.option("--build", type=click.Path(path_type=Path, dir_okay=False), default=BUILD, hidden=True)
def main(
    *,
    keep: bool,
    json_file: Path | None,
    agents: int,
    seconds: float,
    seed: int,
    data: Path | None,
    settings: tuple[str, ...],
    pictures: Path | None,
    build: Path,
) -> None:
    """Run a fleet of agents on the whole system, break things, and check every promise."""
    # The one-machine engine listens on loopback alone; its key needs no TLS there.
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    interrupt_once()
    folder = data or Path(tempfile.mkdtemp(prefix="agentstate-demo-"))
    choices = DemoChoices(
        data=folder,
        agents=agents,
        seconds=seconds,
        seed=seed,
        stays=keep,
        settings=dict(_parse_setting(text) for text in settings),
    )
    ok = False
    try:
        ok = _run_demo(choices, [path for path in (build, json_file) if path], pictures)
    finally:
        if data is None and not keep:
            if ok or not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                click.echo(f"logs and data were kept in {folder}", err=True)
    sys.exit(0 if ok else 1)


def _run_demo(choices: DemoChoices, files: Sequence[Path], pictures: Path | None) -> bool:
    out = make_console()
    with Progress(out) as progress, Demo(choices, progress) as demo:
        found = demo.run()
        verdicts = check_promises(found)
        if choices.stays:
            demo.keep_stack()
    print_report(out, found, verdicts)
    for path in files:
        write_rows(path, make_rows(found, verdicts))
        out.print(f"written: {path}", soft_wrap=True)
    if pictures is not None:
        for name, print_part in (("demo-report.svg", print_report), ("demo-promises.svg", print_end)):

            def print_all(page: Console, print_part: Callable[..., None] = print_part) -> None:
                print_part(page, found, verdicts)
                page.print("all promises were kept")

            draw_picture(pictures / name, "make demo", print_all)
    if choices.stays:
        _print_hints(out, demo.stack)
    kept = all_kept(verdicts)
    out.print("all promises were kept" if kept else "A PROMISE WAS BROKEN")
    return kept


def _print_hints(out: Console, stack: DemoStack) -> None:
    folder = stack.folder
    lines = (
        "The stack goes on. To look around:",
        f"  Flower    {stack.urls['flower']} (user agent, password: AGENTSTATE_FLOWER_BASIC_AUTH in the settings)",
        f"  settings  {folder.env_file}",
        f"  logs      {folder.logs}",
        f"  try       export AGENTSTATE_ENV_FILE={folder.env_file}",
        "            .venv/bin/agentstate status",
        "            .venv/bin/agentstate recall ag_01 'what did I learn about bets?'",
        f"  stop      .venv/bin/python -m deploy.local down --data {folder.path}; rm -r {folder.path}",
    )
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def _parse_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: write NAME=VALUE.")
    return name, value


if __name__ == "__main__":
    try:
        main(prog_name="python -m deploy.local.demo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except AgentStateError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; nothing runs any more", err=True)
        sys.exit(INTERRUPTED)
