"""`agentstate history`: what was ever stated about a subject, and what is or was held for true."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.moment import Moment
from agentstate.cli.verb import Verb

if TYPE_CHECKING:
    from agentstate.memory.facts.records import MemoryRecord


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("subject")
@click.option("--as-of", type=Moment(), help="As it was known at this time, with zone; unset: now.")
@click.option("--namespace", multiple=True, help="Also from this namespace, which several agents share; repeatable.")
@pass_invocation
def history(
    invocation: Invocation, *, agent: str, subject: str, as_of: datetime | None, namespace: tuple[str, ...]
) -> None:
    """Show what AGENT stated about SUBJECT, oldest first.

    The statement that is held for true is marked; with --as-of, the one that was.
    """
    memory = invocation.runtime.memory
    stated = memory.statements(agent, subject, known_as_of=as_of, namespaces=namespace)
    held = memory.believed(agent, subject, as_of=as_of, namespaces=namespace)
    if invocation.as_json:
        output.print_document({"subject": subject, "statements": [_document(one, held) for one in stated]})
    elif stated:
        output.print_table(("holds", "from", "to", "statement"), [_row(one, held) for one in stated])
    else:
        output.print_line(f"{agent} stated nothing about {subject}")


def _document(one: MemoryRecord, held: MemoryRecord | None) -> dict[str, Any]:
    told = ("id", "agent_id", "kind", "content", "metadata", "source", "valid_from", "valid_to", "superseded_by")
    return {**{name: getattr(one, name) for name in told}, "stored_at": one.created_at, "holds": _is(one, held)}


def _row(one: MemoryRecord, held: MemoryRecord | None) -> tuple[object, ...]:
    since, until = one.valid_from or one.created_at, one.valid_to or one.superseded_at
    return _is(one, held), since, until, output.shorten_text(one.content, output.width_left(50))


def _is(one: MemoryRecord, held: MemoryRecord | None) -> bool:
    return held is not None and one.id == held.id
