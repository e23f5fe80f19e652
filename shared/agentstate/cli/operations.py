"""`agentstate status`, `doctor`, `metrics` and `migrate`: the state of the system, and its schema."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb

if TYPE_CHECKING:
    from agentstate.doctor import CheckResult


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
        parts = found["parts"].items()
        output.print_table(
            ("part", "state", "found"),
            [(name, _part_state(part), str(part["problem"] or part["found"])) for name, part in parts],
        )
        click.echo()
        _show_queues(found["queues"])
        click.echo()
        output.print_facts(
            (
                ("memories", _count_memories(found["memories"])),
                ("conversations", _count_conversations(found["conversations"])),
                ("index", _describe_index(found["index"])),
                ("embedder", found["embedder"]["text"]),
                ("summarizer", found["summarizer"]["text"]),
                ("workers", _list_workers(found["workers"])),
                ("schedules", _list_schedules(found["schedules"])),
            )
        )
    context.exit(0 if found["ok"] else 1)


def _part_state(part: dict[str, Any]) -> str:
    if not part["up"]:
        return "down"
    return "warn" if part["problem"] else "up"


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


def _count_memories(counts: dict[str, int] | None) -> str | None:
    if counts is None:
        return None
    told = f"{counts['stored']:,} stored, {counts['searchable']:,} searchable, {counts['pending']:,} pending"
    return f"{told}, {counts['dead']:,} dead, of {output.count_noun(counts['agents'], 'agent')}"


def _count_conversations(counts: dict[str, int] | None) -> str | None:
    if counts is None:
        return None
    told = f"{counts['conversations']:,} with {output.count_noun(counts['turns'], 'turn')}"
    return f"{told}, {counts['summarized']:,} of them summarized"


def _describe_index(index: dict[str, Any] | None) -> str | None:
    if index is None:
        return None
    collections = output.count_noun(len(index["collections"]), "collection")
    return f"{output.count_noun(index['points'], 'point')} in {collections} ({index['engine']})"


def _list_workers(workers: list[dict[str, Any]] | None) -> str | None:
    if workers is None:
        return None
    return "; ".join(f"{one['name']} ({', '.join(one['queues'])})" for one in workers) or "none answered"


def _list_schedules(schedules: dict[str, Any] | None) -> str | None:
    if schedules is None:
        return None
    return (
        "; ".join(f"{kind} {output.format_duration(slot['age_s'])} ago" for kind, slot in schedules.items())
        or "none fired yet"
    )


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
    from agentstate.doctor import is_well, run_checks
    from agentstate.doctor.configuration import list_settings

    if show_settings:
        rows = list_settings(invocation.env_file)
        if invocation.as_json:
            output.print_document({"settings": [asdict(row) for row in rows]})
        else:
            output.print_table(
                ("setting", "value", "default", "source", "description"),
                [(row.name, row.value, row.default, row.source, row.description) for row in rows],
            )
        return
    with invocation.open_system(timeout) as system:
        examined = run_checks(system, only=only, skip=skip)
    _show_checks(examined, invocation)
    context.exit(0 if is_well(examined) else 1)


def _show_checks(examined: list[CheckResult], invocation: Invocation) -> None:
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


@click.command("metrics", cls=Verb)
@click.option("--port", type=click.IntRange(0, 65_535), help="Serve them on this port until stopped; 0 chooses one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve them on.")
@pass_invocation
def metrics_command(invocation: Invocation, *, port: int | None, host: str) -> None:
    """Print metrics for Prometheus, or serve them.

    They are read from the durable store at each scrape, for the whole fleet: one exporter is enough. Nobody is asked
    for a password, so serve them where only your Prometheus reaches.
    """
    from agentstate import metrics as library

    if port is not None and invocation.as_json:
        raise click.UsageError("--json prints the metrics once; it does not go with --port.")
    with invocation.open_system(0.0) as system:
        found = library.make_registry(lambda: system.store)
        if port is None:
            _print_metrics(invocation, found)
        else:
            with library.serve_metrics(found, port, host) as chosen:
                output.print_line(f"metrics are served on http://{host}:{chosen}/metrics")
                # SIGTERM ends it in order; Ctrl-C ends the run as everywhere.
                ended = threading.Event()
                before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
                try:
                    ended.wait()
                finally:
                    signal.signal(signal.SIGTERM, before)


def _print_metrics(invocation: Invocation, found: Any) -> None:
    from agentstate.metrics import render_metrics

    if not invocation.as_json:
        click.echo(render_metrics(found), nl=False)
        return
    samples = [sample for family in found.collect() for sample in family.samples]
    output.print_document(
        {"samples": [{"name": each.name, "labels": each.labels, "value": each.value} for each in samples]}
    )


@click.command("migrate", cls=Verb)
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when the schema is not the newest.")
@click.option("--app-role", metavar="NAME", help="Also give this Postgres role the rights of the application.")
@click.option(
    "--app-url-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same for the role in the address that this file holds; it is made when it is not there.",
)
@pass_invocation
@click.pass_context
def migrate_command(
    context: click.Context, invocation: Invocation, *, check: bool, app_role: str | None, app_url_file: Path | None
) -> None:
    """Bring the durable store to the newest schema revision.

    Safe to run again and from several places at once; what is done is left alone. Accepted facts are never removed.

    With --app-role, run as the owner of the tables: the role that the application will connect as may then work with
    all of them, but neither change nor remove what is in the ledger. It keeps its rights at later migrations.
    --app-url-file needs no role to be there: it is named, with its password, by the AGENTSTATE_DATABASE_URL that the
    application will use.
    """
    from agentstate.store.migrate import newest_revision, upgrade_schema

    if sum(map(bool, (check, app_role, app_url_file))) > 1:
        raise click.UsageError("--check changes nothing, --app-role and --app-url-file do; give one of the three.")
    before, newest = _current_revision(invocation), newest_revision()
    if not check and before != newest:
        upgrade_schema(invocation.settings.database_url)
    bound = _grant_role(invocation, app_role, app_url_file)
    after = before if check else newest
    if invocation.as_json:
        output.print_document({"from": before, "to": after, "newest": newest, "up_to_date": after == newest})
    else:
        if before == newest:
            output.print_line(f"the schema is at revision {newest}, the newest; there is nothing to do")
        elif check:
            output.print_line(
                f"the schema is at revision {before or 'none'}, the newest is {newest}; run `agentstate migrate`"
            )
        else:
            output.print_line(f"migrated the schema from revision {before or 'none'} to {newest}")
        if bound:
            output.print_line(f"{bound} may work with the tables, and neither change nor remove what is in the ledger")
    context.exit(0 if after == newest else 1)


def _grant_role(invocation: Invocation, app_role: str | None, app_url_file: Path | None) -> str | None:
    """Give the application's role its rights; its name, None when none was named."""
    from agentstate.store.migrate import grant_role, grant_role_of_url

    if app_url_file:
        return grant_role_of_url(invocation.settings.database_url, app_url_file.read_text("utf-8").strip())
    if app_role:
        grant_role(invocation.settings.database_url, app_role)
    return app_role


def _current_revision(invocation: Invocation) -> str | None:
    from agentstate.store import Store
    from agentstate.store.migrate import current_revision

    store = Store.open(invocation.settings.database_url, pool_size=1)
    try:
        return current_revision(store)
    finally:
        store.close()
