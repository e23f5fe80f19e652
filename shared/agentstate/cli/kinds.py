"""`agentstate jobs kinds`: the table of kinds and their payloads, made from the registry."""

from __future__ import annotations

from typing import Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb

_HEADERS = ("kind", "queue", "payload", "deadline", "attempts", "submitted by", "what it does")


@click.command(cls=Verb)
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
