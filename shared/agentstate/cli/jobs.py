"""`agentstate jobs`: look at jobs, and handle those that ended without success."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.completion import KindOfJob, job_id_type
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verbs
from agentstate.errors import AgentStateError

if TYPE_CHECKING:
    from agentstate.jobs import Job

STATUSES = ("ready", "running", "done", "dead", "discarded")

_of_kind = click.option("--kind", type=KindOfJob(), help="Only jobs of this kind.")
_of_agent = click.option("--agent", "agent_id", help="Only jobs of this agent.")
_at_most = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Jobs at most, the newest."
)
_everything = click.option("--all", "everything", is_flag=True, help="All dead jobs, or with --kind those of one kind.")


@click.group(cls=Verbs)
def jobs() -> None:
    """Look at jobs, and handle those that are dead.

    A job that cannot succeed becomes dead with its cause and stays until it is requeued or discarded.
    """


_HEADERS = ("kind", "queue", "payload", "deadline", "attempts", "submitted by", "what it does")


@jobs.command()
@click.option("--markdown", is_flag=True, help="Print the table in Markdown, as the documentation has it.")
@pass_invocation
def kinds(invocation: Invocation, *, markdown: bool) -> None:
    """Show every kind of job and its payload.

    Agents submit jobs with the library, or by the Celery task agentstate.jobs.submit. The last kinds are bulk work,
    which claims rows of its own and is submitted by nobody.
    """
    if invocation.as_json:
        output.print_document(kinds_document())
        return
    rows = [_kind_cells(kind) for kind in kinds_document()["kinds"]]
    if markdown:
        click.echo(as_markdown(rows))
    else:
        output.print_table(_HEADERS, rows)


def kinds_document() -> dict[str, Any]:
    """Every kind of job with the JSON Schema of its payload, then every kind of bulk work."""
    from agentstate.jobs.kinds import BULK, KINDS

    return {"kinds": [_job_kind(spec) for spec in KINDS.values()] + [_bulk_kind(spec) for spec in BULK.values()]}


def as_markdown(rows: list[tuple[str, ...]]) -> str:
    """The table in Markdown."""
    lines = [_HEADERS, ("---",) * len(_HEADERS), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in lines)


def _job_kind(spec: Any) -> dict[str, Any]:
    import msgspec

    _, schemas = msgspec.json.schema_components([spec.payload])
    return {
        "kind": spec.kind,
        "task": spec.task_name,
        "queue": spec.queue,
        "has_row": True,
        "by_agents": spec.by_agents,
        "per_agent": spec.per_agent,
        "deadline_s": spec.deadline_s,
        "max_attempts": spec.retry.max_attempts,
        "last_action": str(spec.last_action),
        "payload": schemas[spec.payload.__name__],
        "summary": spec.summary,
    }


def _bulk_kind(spec: Any) -> dict[str, Any]:
    nothing = {"by_agents": False, "per_agent": False, "max_attempts": None, "last_action": None, "payload": None}
    described = {"kind": spec.kind, "task": spec.task_name, "queue": spec.queue, "has_row": False}
    return {**described, **nothing, "deadline_s": spec.deadline_s, "summary": spec.summary}


def _kind_cells(kind: dict[str, Any]) -> tuple[str, ...]:
    submitted = ("an agent" if kind["per_agent"] else "anyone") if kind["by_agents"] else "the system"
    attempts = "-" if kind["max_attempts"] is None else str(kind["max_attempts"])
    deadline = f"{kind['deadline_s']:g} s"
    return kind["kind"], kind["queue"], _payload_fields(kind["payload"]), deadline, attempts, submitted, kind["summary"]


def _payload_fields(schema: dict[str, Any] | None) -> str:
    if schema is None:
        return "-"
    required = set(schema.get("required", ()))
    fields = schema.get("properties", {})
    return ", ".join(name if name in required else f"{name} (optional)" for name in fields) or "none"


@jobs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs of this status.")
@_of_kind
@_of_agent
@_at_most
@pass_invocation
def list_jobs(
    invocation: Invocation, *, status: str | None, kind: str | None, agent_id: str | None, limit: int
) -> None:
    """List the newest jobs."""
    listed = invocation.runtime.jobs.list(status=status, kind=kind, agent_id=agent_id, limit=limit)
    _show_jobs(invocation, listed)


@jobs.command()
@_of_kind
@_of_agent
@_at_most
@pass_invocation
def dead(invocation: Invocation, *, kind: str | None, agent_id: str | None, limit: int) -> None:
    """List the newest dead jobs with their causes."""
    _show_jobs(invocation, invocation.runtime.jobs.list(status="dead", kind=kind, agent_id=agent_id, limit=limit))


@jobs.command()
@click.argument("job_id", metavar="ID", type=job_id_type())
@pass_invocation
def show(invocation: Invocation, *, job_id: str) -> None:
    """Show everything about one job."""
    job = invocation.runtime.jobs.get(job_id).as_dict()
    if invocation.as_json:
        output.print_document(job)
    else:
        output.print_facts(job.items())


@jobs.command()
@click.argument("job_id", metavar="[ID]...", nargs=-1, type=job_id_type("dead", "discarded"))
@_everything
@_of_kind
@pass_invocation
@click.pass_context
def requeue(
    context: click.Context,
    invocation: Invocation,
    *,
    job_id: tuple[str, ...],
    everything: bool,
    kind: str | None,
) -> None:
    """Make dead or discarded jobs ready again, with a fresh budget of attempts.

    With --all it is every dead job (discarded ones only by id), and workers begin within a few seconds.
    """
    _require_either(job_id, kind, everything=everything)
    table = invocation.runtime.jobs
    if everything:
        _tell_count(invocation, "requeued", table.requeue_dead(kind))
    else:
        context.exit(_handle_each(invocation, "requeued", job_id, table.requeue))


@jobs.command()
@click.argument("job_id", metavar="[ID]...", nargs=-1, type=job_id_type("dead", "ready"))
@_everything
@_of_kind
@click.option("--reason", default="discarded by hand", show_default=True, help="Kept with the job.")
@pass_invocation
@click.pass_context
def discard(
    context: click.Context,
    invocation: Invocation,
    *,
    job_id: tuple[str, ...],
    everything: bool,
    kind: str | None,
    reason: str,
) -> None:
    """Give up dead or waiting jobs, with a reason that is kept.

    With --all it is every dead job. A discarded job can be requeued until it is removed with its age.
    """
    _require_either(job_id, kind, everything=everything)
    table = invocation.runtime.jobs
    if everything:
        _tell_count(invocation, "discarded", table.discard_dead(reason, kind))
    else:
        context.exit(_handle_each(invocation, "discarded", job_id, lambda one: table.discard(one, reason)))


def _require_either(job_ids: Sequence[str], kind: str | None, *, everything: bool) -> None:
    if bool(job_ids) == everything:
        raise click.UsageError("Give the ids of jobs, or --all for every dead one (with --kind, of one kind).")
    if kind is not None and not everything:
        raise click.UsageError("--kind goes with --all.")


def _handle_each(invocation: Invocation, done: str, job_ids: Sequence[str], act: Callable[[str], Job]) -> int:
    """Handle each job by itself; return the exit code."""
    handled, refused = [], []
    for job_id in job_ids:
        try:
            handled.append(str(act(job_id).id))
        except AgentStateError as error:
            refused.append({"id": job_id, "type": type(error).__name__, "message": error.message})
    if invocation.as_json:
        output.print_document({done: handled, "count": len(handled), "refused": refused})
    else:
        for job_id in handled:
            output.print_line(f"{done} {job_id}")
        for item in refused:
            output.print_note(f"error: {item['message']}")
    return 1 if refused else 0


def _tell_count(invocation: Invocation, done: str, count: int) -> None:
    if invocation.as_json:
        output.print_document({"count": count})
    else:
        output.print_line(f"{done} {output.count_noun(count, 'dead job')}")


def _show_jobs(invocation: Invocation, found: list[Job]) -> None:
    if invocation.as_json:
        output.print_document({"jobs": [job.as_dict() for job in found]})
    elif found:
        output.print_table(
            ("id", "kind", "status", "agent", "attempts", "created", "error"), [_job_cells(job) for job in found]
        )
    else:
        output.print_line("no jobs match")


def _job_cells(job: Job) -> tuple[Any, ...]:
    attempts = f"{job.attempts}/{job.max_attempts}"
    error = output.shorten_text(job.error or "", 120)
    return job.id, job.kind, str(job.status), job.agent_id, attempts, job.created_at, error
