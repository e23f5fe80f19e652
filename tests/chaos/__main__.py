"""`python -m tests.chaos NAME`: play one scenario; `--help` lists them, `NAME --help` its options."""

from __future__ import annotations

from importlib import import_module

import click

SCENARIOS = {
    "money": "tests.chaos.money.program",
    "workers": "tests.chaos.workers.run",
    "services": "tests.chaos.services.run",
    "memory": "tests.chaos.memory.run",
    "conversation": "tests.chaos.conversation.run",
    "stack": "tests.chaos.stack",
}
"""The module of each; only that of the chosen one is imported, as the one of money forks its process."""


class Scenarios(click.Group):
    """All scenarios as commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(SCENARIOS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        return import_module(SCENARIOS[cmd_name]).SCENARIO.command(cmd_name) if cmd_name in SCENARIOS else None


if __name__ == "__main__":
    Scenarios("chaos", help=__doc__)(prog_name="python -m tests.chaos")
