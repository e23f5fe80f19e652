"""`agentstate doctor`: every check with its finding and remedy, and the table of all settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb

if TYPE_CHECKING:
    from agentstate.doctor import CheckResult


def _complete_check(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from agentstate.doctor.registry import NAMES

    return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


@click.command(cls=Verb)
@click.option("--settings", "show_settings", is_flag=True, help="Show all settings, their values and sources, instead.")
@click.option(
    "--only", multiple=True, metavar="CHECK", shell_complete=_complete_check, help="Run only this check; repeatable."
)
@click.option(
    "--skip", multiple=True, metavar="CHECK", shell_complete=_complete_check, help="Leave out this check; repeatable."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=1.5, show_default=True, help="Seconds workers may answer in."
)
@pass_invocation
@click.pass_context
def doctor_command(
    context: click.Context,
    invocation: Invocation,
    *,
    show_settings: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    timeout: float,
) -> None:
    """Check every part, and show remedies for problems.

    Every check ends with ok, warn (works, but needs attention), fail (a guarantee does not hold) or skipped (its
    prerequisite failed). Exit code 1 when any check fails.
    """
    if show_settings:
        _show_settings(invocation)
        return
    from agentstate.doctor import is_well, run_checks

    with invocation.open_system(timeout) as system:
        examined = run_checks(system, only=only, skip=skip)
    _show(examined, invocation)
    context.exit(0 if is_well(examined) else 1)


def _show(examined: list[CheckResult], invocation: Invocation) -> None:
    from agentstate.doctor import Verdict, is_well

    counts = {str(verdict): sum(item.finding.verdict is verdict for item in examined) for verdict in Verdict}
    if invocation.as_json:
        checks = [item.as_dict() for item in examined]
        output.print_document({"ok": is_well(examined), "counts": counts, "checks": checks})
        return
    output.print_table(
        ("check", "verdict", "found"), [(it.check, str(it.finding.verdict), it.finding.found) for it in examined]
    )
    for item in examined:
        if item.finding.remedy:
            output.print_line(f"{item.check}: {item.finding.remedy}")
    output.print_line(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def _show_settings(invocation: Invocation) -> None:
    from agentstate.doctor.settings_table import list_settings

    rows = list_settings(invocation.env_file)
    if invocation.as_json:
        output.print_document({"settings": [asdict(row) for row in rows]})
    else:
        output.print_table(
            ("setting", "value", "default", "source", "description"),
            [(row.name, row.value, row.default, row.source, row.description) for row in rows],
        )
