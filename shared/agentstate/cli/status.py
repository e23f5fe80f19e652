"""`agentstate status`: the state of parts, queues and workers."""

from __future__ import annotations

from typing import Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb


@click.command(cls=Verb)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds workers may answer in."
)
@pass_invocation
@click.pass_context
def status_command(context: click.Context, invocation: Invocation, *, timeout: float) -> None:
    """Show the state of all parts, queues and workers.

    Works when parts are down and says which; unknown values are shown as "-", in JSON as null, and never as zero.
    Exit code 1 when a part is down or the schema is not the newest.
    """
    from agentstate.doctor.overview import collect_overview

    with invocation.open_system(timeout) as system:
        found = collect_overview(system)
    if invocation.as_json:
        output.print_document(found)
    else:
        _show(found)
    context.exit(0 if found["ok"] else 1)


def _show(found: dict[str, Any]) -> None:
    parts = found["parts"].items()
    output.print_table(("part", "state", "found"), [(name, _state(part), _told(part)) for name, part in parts])
    click.echo()
    _show_queues(found["queues"])
    click.echo()
    output.print_facts(
        (
            ("memories", _memories(found["memories"])),
            ("conversations", _conversations(found["conversations"])),
            ("index", _index(found["index"])),
            ("embedder", found["embedder"]["text"]),
            ("summarizer", found["summarizer"]["text"]),
            ("workers", _workers(found["workers"])),
            ("schedules", _schedules(found["schedules"])),
        )
    )


def _state(part: dict[str, Any]) -> str:
    if not part["up"]:
        return "down"
    return "warn" if part["problem"] else "up"


def _told(part: dict[str, Any]) -> str:
    return str(part["problem"] or part["found"])


def _show_queues(queues: dict[str, Any] | None) -> None:
    if queues is None:
        output.print_line("queues: unknown while the database cannot be read")
        return
    columns = ("ready", "running", "done", "dead", "discarded")
    rows = [
        (name, *(row[column] for column in columns), output.format_duration(row["oldest_due_s"]))
        for name, row in queues.items()
    ]
    output.print_table(("queue", *columns, "oldest due"), rows)


def _memories(counts: dict[str, int] | None) -> str | None:
    if counts is None:
        return None
    told = f"{counts['stored']:,} stored, {counts['searchable']:,} searchable, {counts['pending']:,} pending"
    return f"{told}, {counts['dead']:,} dead, of {output.count_noun(counts['agents'], 'agent')}"


def _conversations(counts: dict[str, int] | None) -> str | None:
    if counts is None:
        return None
    told = f"{counts['conversations']:,} with {output.count_noun(counts['turns'], 'turn')}"
    return f"{told}, {counts['summarized']:,} of them summarized"


def _index(index: dict[str, Any] | None) -> str | None:
    if index is None:
        return None
    collections = output.count_noun(len(index["collections"]), "collection")
    return f"{output.count_noun(index['points'], 'point')} in {collections} ({index['engine']})"


def _workers(workers: list[dict[str, Any]] | None) -> str | None:
    if workers is None:
        return None
    return "; ".join(f"{one['name']} ({', '.join(one['queues'])})" for one in workers) or "none answered"


def _schedules(schedules: dict[str, Any] | None) -> str | None:
    if schedules is None:
        return None
    return (
        "; ".join(f"{kind} {output.format_duration(slot['age_s'])} ago" for kind, slot in schedules.items())
        or "none fired yet"
    )
