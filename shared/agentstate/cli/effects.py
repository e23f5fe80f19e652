"""`agentstate effects`: look at effects on the outside, and settle those that nobody can tell about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verbs
from agentstate.errors import InvalidInput

if TYPE_CHECKING:
    from agentstate.money.effects.table import Effect
    from agentstate.money.effects.verdicts import Absent, Applied

STATES = ("intent", "ready", "in_doubt", "manual", "succeeded", "failed")


@click.group(cls=Verbs)
def effects() -> None:
    """Look at effects, and settle those in doubt.

    An effect is a call to the outside. One in doubt is looked up by workers. One that cannot be looked up is manual:
    its money stays held until a human who has found out says what happened.
    """


@effects.command("list")
@click.option("--agent", "agent_id", help="Only effects of this agent.")
@click.option("--state", type=click.Choice(STATES), help="Only effects in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most, the newest.")
@pass_invocation
def list_effects(invocation: Invocation, *, agent_id: str | None, state: str | None, limit: int) -> None:
    """List the newest effects."""
    from agentstate.money.effects import table as effect_rows

    with invocation.runtime.store.read_connection() as connection:
        found = effect_rows.find(connection, agent_id=agent_id, state=state, limit=limit)
    if invocation.as_json:
        output.print_document({"effects": [_document(effect) for effect in found]})
    elif found:
        output.print_table(
            ("id", "agent", "operation", "key", "state", "called", "note"), [_row(effect) for effect in found]
        )
    else:
        output.print_line("no effects match")


@effects.command()
@click.argument("effect_id", metavar="ID")
@pass_invocation
def show(invocation: Invocation, *, effect_id: str) -> None:
    """Show everything about one effect, with the evidence that was kept."""
    from agentstate.money.effects import table as effect_rows

    identifier = _identifier(effect_id)
    with invocation.runtime.store.read_connection() as connection:
        found = effect_rows.get(connection, identifier)
        evidence = effect_rows.evidence_of(connection, identifier)
    if invocation.as_json:
        output.print_document({**_document(found), "evidence": evidence})
        return
    output.print_facts(_document(found).items())
    for item in evidence:
        output.print_line(f"evidence, {output.format_cell(item['recorded_at'])}, {item['kind']}: {item['detail']}")


@effects.command()
@click.argument("effect_id", metavar="ID")
@click.option("--applied", metavar="RECEIPT", help="A human found that it happened; its receipt as JSON.")
@click.option("--absent", is_flag=True, help="A human found that it did not happen, and will not any more.")
@click.option("--reason", help="How that was found out; kept as evidence. Needed with --applied and --absent.")
@pass_invocation
def resolve(invocation: Invocation, *, effect_id: str, applied: str | None, absent: bool, reason: str | None) -> None:
    """Look for one effect now, or end it by what a human found out.

    With --applied it is booked as if its call had returned RECEIPT; with --absent the money that it held is given back.
    Either is final.
    """
    identifier = _identifier(effect_id)
    verdict = _verdict(applied, reason, absent=absent)
    resolver = invocation.runtime.effect_resolver
    if verdict is None:
        effect = resolver.resolve(identifier)
    else:
        effect = resolver.decide(identifier, verdict, reason=reason or "")
    if invocation.as_json:
        output.print_document(_document(effect))
    else:
        output.print_line(f"{effect.id} {effect.state}" + (f": {effect.note}" if effect.note else ""))


def _verdict(applied: str | None, reason: str | None, *, absent: bool) -> Applied | Absent | None:
    from agentstate.money.effects.verdicts import Absent, Applied

    if applied is not None and absent:
        raise click.UsageError("--applied and --absent exclude each other.")
    if applied is None and not absent:
        if reason is not None:
            raise click.UsageError("--reason goes with --applied or --absent.")
        return None
    if not (reason or "").strip():
        raise click.UsageError("Say with --reason how it was found out; it is kept as evidence.")
    return Absent(reason or "") if applied is None else Applied(_receipt(applied))


def _receipt(text: str) -> Any:
    from agentstate.state import codec

    try:
        return codec.loads(text)
    except InvalidInput as error:
        raise InvalidInput(f"the receipt is no JSON of ours: {error} No effect was changed.") from None


def _identifier(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(f"{text[:80]!r} is no id of an effect; `agentstate effects list` shows them.") from None


def _document(effect: Effect) -> dict[str, Any]:
    fields = {name: getattr(effect, name) for name in effect.__dataclass_fields__}
    return {**fields, "params_sha": effect.params_sha.hex(), "state": str(effect.state)}


def _row(effect: Effect) -> tuple[Any, ...]:
    note = output.shorten_text(effect.note or "", 80)
    return effect.id, effect.agent_id, effect.operation, effect.key, str(effect.state), effect.called_at, note
