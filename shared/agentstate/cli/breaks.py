"""`agentstate breaks`: differences that nobody has explained yet, and what people found out about them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verbs

if TYPE_CHECKING:
    from agentstate.money import Break, Breaks

_which = click.argument("break_id", metavar="ID", type=click.UUID)
_who = click.option("--who", default=None, help="Who does it, for the record; your login name when unset.")


@click.group(cls=Verbs)
def breaks() -> None:
    """Look at what differs from the books, and end it.

    A break opens when something differs that nothing in flight explains. Many end by themselves; the others wait for
    somebody who finds out.
    """


@breaks.command("list")
@click.option("--agent", "agent_id", help="Only breaks of this agent.")
@click.option("--service", help="Only breaks at this service.")
@click.option("--all", "everything", is_flag=True, help="Those that have ended too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most, the newest.")
@pass_invocation
def list_breaks(
    invocation: Invocation, *, agent_id: str | None, service: str | None, everything: bool, limit: int
) -> None:
    """List the newest open breaks."""
    found = _of(invocation).find(agent_id=agent_id, service=service, only_open=not everything, limit=limit)
    if invocation.as_json:
        output.print_document({"breaks": [_document(item) for item in found]})
    elif found:
        output.print_table(("id", "agent", "service", "kind", "amount", "state", "opened", "told"), map(_row, found))
    else:
        output.print_line("no breaks match")


@breaks.command()
@_which
@pass_invocation
def show(invocation: Invocation, *, break_id: UUID) -> None:
    """Show everything about one break, with its evidence."""
    found = _document(_of(invocation).get(break_id))
    if invocation.as_json:
        output.print_document(found)
    else:
        output.print_facts(found.items())


@breaks.command()
@_which
@click.option("--note", default="", help="What is being done about it.")
@_who
@pass_invocation
def acknowledge(invocation: Invocation, *, break_id: UUID, note: str, who: str | None) -> None:
    """Say that somebody looks into a break. It stays open, and goes on counting for limits on what is unexplained."""
    _tell(invocation, _of(invocation).acknowledge(break_id, who=who or getpass.getuser(), note=note))


@breaks.command()
@_which
@click.option("--reason", required=True, help="What was found out; kept with the break.")
@_who
@pass_invocation
def resolve(invocation: Invocation, *, break_id: UUID, reason: str, who: str | None) -> None:
    """End a break by what a human found out. The books are not touched: post what was missing before."""
    _tell(invocation, _of(invocation).resolve(break_id, who=who or getpass.getuser(), reason=reason))


def _of(invocation: Invocation) -> Breaks:
    from agentstate.money import Breaks

    return Breaks(invocation.runtime.store)


def _tell(invocation: Invocation, changed: Break) -> None:
    if invocation.as_json:
        output.print_document(_document(changed))
    else:
        output.print_line(f"{changed.id} {changed.state}: {changed.resolution}")


def _document(found: Break) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    amount, currency = (None, None) if found.amount is None else (str(found.amount.amount), found.amount.currency)
    return fields | {"amount": amount, "currency": currency}


def _row(found: Break) -> tuple[Any, ...]:
    told = output.shorten_text(found.resolution or "", 60)
    return found.id, found.agent_id, found.service, found.kind, found.amount, found.state, found.opened_at, told
