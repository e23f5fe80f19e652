"""`python -m deploy.local.demo`: run the demonstration and report; exit code 1 when a promise was broken."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentstate.errors import AgentStateError
from agentstate.money.amounts import Money
from deploy.local.demo.findings import Balance, Findings
from deploy.local.demo.promises import Verdict, all_kept, check_promises, make_rows
from deploy.local.demo.scenario import Demo, DemoChoices, Progress
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
    for text in settings:
        if "=" not in text:
            raise click.UsageError(f"--set {text}: write NAME=VALUE.")
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
        settings=dict(text.split("=", 1) for text in settings),
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
        write_rows(path, list(make_rows(found, verdicts)))
        out.print(f"written: {path}", soft_wrap=True)
    if pictures is not None:
        for name, print_part in (("demo-report.svg", print_report), ("demo-promises.svg", print_end)):

            def print_all(page: Console, print_part: Callable[..., None] = print_part) -> None:
                print_part(page, found, verdicts)
                page.print("all promises were kept")

            draw_picture(pictures / name, "make demo", print_all)
    if choices.stays:
        stack = demo.stack
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
    kept = all_kept(verdicts)
    out.print("all promises were kept" if kept else "A PROMISE WAS BROKEN")
    return kept


def print_report(out: Console, found: Findings, verdicts: Sequence[Verdict]) -> None:
    """Print all tables, the promises last."""
    for table in (
        work_table(found),
        answer_table(found),
        effect_table(found),
        balance_table(found),
        break_table(found),
    ):
        print_table(out, table)
    print_end(out, found, verdicts)


def print_end(out: Console, found: Findings, verdicts: Sequence[Verdict]) -> None:
    """Print the disruptions with their surroundings, and the promises."""
    print_table(out, surroundings_table(found))
    promises = make_table("Promises", "promise", "how it was checked", "result")
    for verdict in verdicts:
        result = Text("ok", "green") if verdict.is_kept else Text(verdict.as_text(), "bold red")
        promises.add_row(verdict.promise, verdict.checked, result)
    print_table(out, promises)
    for line in found.failures:
        out.print(Text(line))


def make_table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table; the columns in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def print_table(out: Console, table: Table) -> None:
    """Print a table, without lines when the output is piped."""
    if not out.is_terminal:
        table.box = None
        table.title = f"\n{table.title}" if table.title else None
    out.print(table)


def work_table(found: Findings) -> Table:
    """Jobs by kind, with their times."""
    numbers = ("done", "not done", "for later", "p50", "p95")
    table = make_table("Work", "kind", *numbers, right=numbers)
    for work in found.work:
        times = (f"{work.p50_s:.2f} s", f"{work.p95_s:.2f} s") if work.count else ("-", "-")
        table.add_row(work.kind, str(work.count), str(work.unfinished), str(work.later), *times)
    return table


def answer_table(found: Findings) -> Table:
    """Questions and the memories recalled for them."""
    stored, searchable = (sum(getattr(m, name) for m in found.memories) for name in ("stored", "searchable"))
    table = make_table(
        f"Memory: {stored} stored, {searchable} searchable; {found.turns} turns, {found.summaries} summaries of "
        f"{found.summarized} turns",
        "asked of", "question", "recalled", "score", "found by",
    )  # fmt: skip
    for answer in found.answers:
        table.add_row(answer.agent_id, answer.question, answer.content, f"{answer.score:.2f}", answer.retrievers)
    return table


def effect_table(found: Findings) -> Table:
    """Effects by operation: their states, and how the uncertain ones were resolved."""
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(found.injected.items())) or "none"
    numbers = ("succeeded", "failed", "open", "found out", "there already", "called again", "longest")
    title = f"Effects: {len(found.effects)} intents, at most {found.most_effects} effect of each; faults injected: "
    table = make_table(title + injected, "operation", *numbers, right=numbers)
    for operation in sorted({effect.operation for effect in found.effects}):
        mine = [effect for effect in found.effects if effect.operation == operation]
        states = Counter(effect.state for effect in mine)
        resumed = [effect for effect in mine if effect.resumed]
        again = sum(effect.attempts > 1 for effect in resumed)
        still_open = len(mine) - states["succeeded"] - states["failed"]
        longest = f"{max(effect.open_s for effect in resumed):.0f} s" if resumed else "-"
        cells = (states["succeeded"], states["failed"], still_open, len(resumed), len(resumed) - again, again, longest)
        table.add_row(operation, *map(str, cells))
    return table


def balance_table(found: Findings) -> Table:
    """One line an agent: the service's amounts, and the difference of the ledger from them."""
    accounts = list(dict.fromkeys(balance.account for balance in found.balances))
    numbers = (*accounts, "difference")
    table = make_table("Ledger against the services, in USDC", "agent", *numbers, right=numbers)
    by_agent: dict[str, dict[str, Balance]] = defaultdict(dict)
    for balance in found.balances:
        by_agent[balance.agent_id][balance.account] = balance
    for agent, known in by_agent.items():
        off = sum(abs(balance.difference) for balance in known.values())
        amounts = (f"{Money.from_minor(known[account].truth).amount:f}" for account in accounts)
        table.add_row(agent, *amounts, f"{Money.from_minor(off).amount:f}" if off else "0")
    return table


def break_table(found: Findings) -> Table:
    """All breaks, with the planted one."""
    states = Counter(item.state for item in found.breaks)
    table = make_table(
        f"Breaks: {len(found.breaks)} opened, {len(found.breaks) - states['open']} explained, {states['open']} open",
        "agent", "service", "kind", "amount", "state", "explanation",
    )  # fmt: skip
    for item in found.breaks:
        amount = "-" if item.amount is None else f"{item.amount:f}"
        table.add_row(item.agent_id, item.service, item.kind, amount, item.state, item.resolution or "-")
    return table


def surroundings_table(found: Findings) -> Table:
    """Disruptions, snapshots, Flower, Redis, and unfinished work."""
    table = make_table("Around it", "what", "found")
    for text in found.disruptions:
        table.add_row("went wrong on purpose", text)
    slots = ", ".join(f"{slot[11:19]}: {rows}" for slot, rows in found.snapshots.items())
    table.add_row("snapshots by beat's slot", slots or "none")
    if found.flower is not None:
        flower = found.flower
        seen = f"{len(flower.workers)} workers ({', '.join(flower.workers)}), {flower.tasks} tasks"
        doors = f"{flower.status_without_password} without password, {flower.status_of_control} to a command"
        table.add_row("Flower", f"{seen}; {doors}")
    immortal = sum(key.ttl_s < 0 for key in found.keys)
    table.add_row("Redis", f"{len(found.keys)} keys of ours, {immortal} of them without a TTL")
    for line in found.open or ("nothing",):
        table.add_row("still open", line)
    return table


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
