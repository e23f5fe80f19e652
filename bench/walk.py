"""`make walk`: trace the files and functions that a call passes through, and apply the bars.

Each walk runs on real servers, warm, and is traced by `sys.setprofile`: only frames of `agentstate` in the calling
thread count, so neither libraries nor the transport's thread. A change of file is a call that enters another file than
the call before it.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import click

import agentstate
from agentstate.agent import Agent, Fleet
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.store.migrate import upgrade_schema
from bench.stack import make_settings_for
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, all_met, at_most, make_console, print_rows, write_rows
from deploy.local.stack.stack import Stack

PACKAGE = str(Path(agentstate.__file__).parent)
BUILD = ROOT / "build" / "walk.json"
BARS = {("a bet", "files"): 25, ("a bet", "changes of file"): 120, ("its replay", "files"): 12}


@dataclass(slots=True)
class Trace:
    """The calls of one walk, each as file and function."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def record(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note a call of ours; a profile function."""
        code = frame.f_code
        resumed = code.co_flags & inspect.CO_GENERATOR and frame.f_lasti > 0
        if event == "call" and not resumed and code.co_filename.startswith(PACKAGE):
            self.calls.append((code.co_filename.removeprefix(f"{PACKAGE}/"), code.co_qualname))

    @property
    def files(self) -> list[str]:
        """The files in the order in which they are first entered."""
        return list(dict.fromkeys(name for name, _ in self.calls))

    def measures(self) -> dict[str, int]:
        """Return the counts by their names."""
        names = [name for name, _ in self.calls]
        return {
            "files": len(set(names)),
            "functions": len(set(self.calls)),
            "calls": len(names),
            "changes of file": sum(name != before for before, name in pairwise(names)),
        }


def trace(walk: Callable[[], object]) -> Trace:
    """Run `walk` and return its calls."""
    found = Trace()
    sys.setprofile(found.record)
    try:
        walk()
    finally:
        sys.setprofile(None)
    return found


def make_walks(agent: Agent) -> dict[str, Callable[[], Any]]:
    """Return the walks by name; each can be run again and again."""
    numbers = count(1)

    def bet(key: str) -> Any:
        return agent.effects.execute_once(key, casino.bet(amount=Decimal("0.10"), side="heads"))

    return {
        "a bet": lambda: bet(f"bet:{next(numbers)}"),
        "its replay": lambda: bet("bet:1"),
        "remember": lambda: agent.memory.remember(f"the {next(numbers)}th thing to know"),
        "recall": lambda: agent.memory.recall("what is there to know?"),
        "record an episode": lambda: agent.episodes.record("trade", {"number": next(numbers)}),
        "recent episodes": lambda: agent.episodes.get_recent(20),
    }


def measure(agent: Agent, *, routes: bool, say: Callable[[str], None]) -> list[Row]:
    """Run every walk warm and return its rows; with `routes` the files of each are printed."""
    agent.effects.execute_once("register", casino.register())
    agent.effects.execute_once("deposit", casino.deposit(amount=Decimal(100)))
    walks = make_walks(agent)
    for _ in range(7):
        for walk in walks.values():
            walk()
    rows = []
    for name, walk in walks.items():
        found = trace(walk)
        for measure_name, value in found.measures().items():
            bar, shown = BARS.get((name, measure_name)), f"{name}: {measure_name}"
            rows.append(Row(shown, value) if bar is None else at_most(shown, value, bar))
        if routes:
            say(f"{name}: {' > '.join(found.files)}")
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--routes", is_flag=True, help="Also print the files of each walk, in the order in which they are entered."
)
def main(*, routes: bool) -> None:
    """Trace a bet, its replay, remembering, recalling and episodes, and apply the bars."""
    with (
        tempfile.TemporaryDirectory(prefix="agentstate-walk-") as folder,
        Stack(Path(folder), only=("redis", "postgres", "qdrant", "sandbox")) as stack,
    ):
        settings = make_settings_for(stack)
        upgrade_schema(settings.database_url)
        runtime = Runtime(settings)
        try:
            rows = measure(Fleet(runtime).agent("ag_walk"), routes=routes, say=click.echo)
        finally:
            runtime.close()
    print_rows(make_console(), "walk", rows)
    write_rows(BUILD, rows)
    missed: Sequence[str] = [row.name for row in rows if row.met is False]
    click.echo("\n".join(f"MISSED: {name}" for name in missed) or "every bar is met")
    sys.exit(0 if all_met(rows) else 1)


if __name__ == "__main__":
    main(prog_name="python -m bench.walk")
