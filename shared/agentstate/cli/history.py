"""`agentstate history`: every statement about a subject, and the one that is or was held for true."""

from __future__ import annotations

from datetime import datetime

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Moment, Verb


@click.command(cls=Verb)
@click.argument("agent")
@click.argument("subject")
@click.option("--as-of", type=Moment(), help="As it was known at this time, with zone; unset: now.")
@click.option("--namespace", multiple=True, help="Also from this namespace, which several agents share; repeatable.")
@pass_invocation
def history(
    invocation: Invocation, *, agent: str, subject: str, as_of: datetime | None, namespace: tuple[str, ...]
) -> None:
    """Show the statements of AGENT about SUBJECT, oldest first.

    The statement that is held for true is marked; with --as-of, the one that was.
    """
    memory = invocation.runtime.memory.of(agent)
    stated = memory.statements(subject, known_as_of=as_of, namespaces=namespace)
    held = memory.believed(subject, as_of=as_of, namespaces=namespace)
    held_id = None if held is None else held.id
    if invocation.as_json:
        names = ("id", "agent_id", "kind", "content", "metadata", "source", "valid_from", "valid_to", "superseded_by")
        documents = [
            {**{name: getattr(one, name) for name in names}, "stored_at": one.created_at, "holds": one.id == held_id}
            for one in stated
        ]
        output.print_document({"subject": subject, "statements": documents})
    elif stated:
        rows = [
            (
                one.id == held_id,
                one.valid_from or one.created_at,
                one.valid_to or one.superseded_at,
                output.shorten_text(one.content, output.width_left(50)),
            )
            for one in stated
        ]
        output.print_table(("holds", "from", "to", "statement"), rows)
    else:
        output.print_line(f"{agent} stated nothing about {subject}")
