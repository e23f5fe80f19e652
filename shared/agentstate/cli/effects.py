"""`agentstate effects`: look at effects on the outside, and settle those that nobody can tell about."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verbs
from agentstate.errors import InvalidInput

if TYPE_CHECKING:
    from agentstate.money.effects.table import Effect


class _EffectId(click.ParamType[UUID]):
    """The id of an effect; another text is refused as any wrong value is."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        """Return the id; raises InvalidInput."""
        del param, ctx
        try:
            return UUID(str(value))
        except ValueError:
            raise InvalidInput(
                f"{str(value)[:80]!r} is no id of an effect; `agentstate effects list` shows them."
            ) from None


_which = click.argument("effect_id", metavar="ID", type=_EffectId())

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
        found = effect_rows.list_effects(connection, agent_id=agent_id, state=state, limit=limit)
    if invocation.as_json:
        output.print_document({"effects": [_document(effect) for effect in found]})
    elif found:
        output.print_table(
            ("id", "agent", "operation", "key", "state", "called", "note"), [_row(effect) for effect in found]
        )
    else:
        output.print_line("no effects match")


@effects.command()
@_which
@pass_invocation
def show(invocation: Invocation, *, effect_id: UUID) -> None:
    """Show everything about one effect, with the evidence that was kept."""
    from agentstate.money.effects import table as effect_rows

    with invocation.runtime.store.read_connection() as connection:
        found = effect_rows.load_effect(connection, effect_id)
        evidence = effect_rows.list_evidence(connection, effect_id)
    if invocation.as_json:
        output.print_document({**_document(found), "evidence": evidence})
        return
    output.print_facts(_document(found).items())
    for item in evidence:
        output.print_line(f"evidence, {output.format_cell(item['recorded_at'])}, {item['kind']}: {item['detail']}")


@effects.command()
@_which
@click.option("--applied", metavar="RECEIPT", help="A human found that it happened; its receipt as JSON.")
@click.option("--absent", is_flag=True, help="A human found that it did not happen, and will not any more.")
@click.option("--reason", help="How that was found out; kept as evidence. Needed with --applied and --absent.")
@click.option("--who", default=None, help="Who decides, for the record; your login name when unset.")
@pass_invocation
def resolve(
    invocation: Invocation, *, effect_id: UUID, applied: str | None, absent: bool, reason: str | None, who: str | None
) -> None:
    """Look for one effect now, or end it by what a human found out.

    With --applied it is booked as if its call had returned RECEIPT; with --absent the money that it held is given back.
    Either is final.
    """
    if applied is not None and absent:
        raise click.UsageError("--applied and --absent exclude each other.")
    resolver = invocation.runtime.effects.resolver
    if applied is None and not absent:
        if reason is not None:
            raise click.UsageError("--reason goes with --applied or --absent.")
        _print_state(invocation, resolver.resolve(effect_id))
        return
    if not (reason or "").strip():
        raise click.UsageError("Say with --reason how it was found out; it is kept as evidence.")
    decided = resolver.decide(
        effect_id,
        happened=applied is not None,
        receipt=None if applied is None else _parse_receipt(applied),
        who=who or getpass.getuser(),
        reason=reason or "",
    )
    _print_state(invocation, decided)


@effects.command()
@_which
@pass_invocation
def book(invocation: Invocation, *, effect_id: UUID) -> None:
    """Book an effect that succeeded while its postings were wrong, and end its break.

    Its operation makes the postings again from the stored receipt, so correct that first. What is booked already stays
    as it is.
    """
    _print_state(invocation, invocation.runtime.effects.resolver.book(effect_id))


def _print_state(invocation: Invocation, effect: Effect) -> None:
    if invocation.as_json:
        output.print_document(_document(effect))
    else:
        output.print_line(f"{effect.id} {effect.state}" + (f": {effect.note}" if effect.note else ""))


def _parse_receipt(text: str) -> Any:
    from agentstate.state import codec

    try:
        return codec.loads(text)
    except InvalidInput as error:
        raise InvalidInput(f"the receipt is no JSON of ours: {error} No effect was changed.") from None


def _document(effect: Effect) -> dict[str, Any]:
    fields = {name: getattr(effect, name) for name in effect.__dataclass_fields__}
    return {**fields, "params_sha": effect.params_sha.hex(), "state": str(effect.state)}


def _row(effect: Effect) -> tuple[Any, ...]:
    note = output.shorten_text(effect.note or "", 80)
    return effect.id, effect.agent_id, effect.operation, effect.key, str(effect.state), effect.called_at, note
