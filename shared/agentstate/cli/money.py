"""`agentstate effects`, `breaks` and `guards`: calls to the outside, differences from the books, and limits."""

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
    from agentstate.money import Break
    from agentstate.money.effects.table import Effect
    from agentstate.money.guards import Freeze, Guards, Rule

_who = click.option("--who", default=None, help="Who does it, for the record; your login name when unset.")


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


_effect_id = click.argument("effect_id", metavar="ID", type=_EffectId())

EFFECT_STATES = ("intent", "ready", "in_doubt", "manual", "succeeded", "failed")


@click.group(cls=Verbs)
def effects() -> None:
    """Look at effects, and settle those in doubt.

    An effect is a call to the outside. One in doubt is looked up by workers. One that cannot be looked up is manual:
    its money stays held until a human who has found out says what happened.
    """


@effects.command("list")
@click.option("--agent", "agent_id", help="Only effects of this agent.")
@click.option("--state", type=click.Choice(EFFECT_STATES), help="Only effects in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most, the newest.")
@pass_invocation
def list_effects(invocation: Invocation, *, agent_id: str | None, state: str | None, limit: int) -> None:
    """List the newest effects."""
    from agentstate.money.effects import table as effect_rows

    with invocation.runtime.store.read_connection() as connection:
        found = effect_rows.list_effects(connection, agent_id=agent_id, state=state, limit=limit)
    if invocation.as_json:
        output.print_document({"effects": [_effect_document(effect) for effect in found]})
    elif found:
        output.print_table(
            ("id", "agent", "operation", "key", "state", "called", "note"), [_effect_cells(effect) for effect in found]
        )
    else:
        output.print_line("no effects match")


@effects.command("show")
@_effect_id
@pass_invocation
def show_effect(invocation: Invocation, *, effect_id: UUID) -> None:
    """Show everything about one effect, with the evidence that was kept."""
    from agentstate.money.effects import table as effect_rows

    with invocation.runtime.store.read_connection() as connection:
        found = effect_rows.load_effect(connection, effect_id)
        evidence = effect_rows.list_evidence(connection, effect_id)
    if invocation.as_json:
        output.print_document({**_effect_document(found), "evidence": evidence})
        return
    output.print_facts(_effect_document(found).items())
    for item in evidence:
        output.print_line(f"evidence, {output.format_cell(item['recorded_at'])}, {item['kind']}: {item['detail']}")


@effects.command("resolve")
@_effect_id
@click.option("--applied", metavar="RECEIPT", help="A human found that it happened; its receipt as JSON.")
@click.option("--absent", is_flag=True, help="A human found that it did not happen, and will not any more.")
@click.option("--reason", help="How that was found out; kept as evidence. Needed with --applied and --absent.")
@_who
@pass_invocation
def resolve_effect(
    invocation: Invocation, *, effect_id: UUID, applied: str | None, absent: bool, reason: str | None, who: str | None
) -> None:
    """Verify one effect now, or end it with the outcome that a human found.

    With --applied it is booked as if its call had returned RECEIPT; with --absent the money that it held is given back.
    Either is final.
    """
    if applied is not None and absent:
        raise click.UsageError("--applied and --absent exclude each other.")
    resolver = invocation.runtime.effects.resolver
    if applied is None and not absent:
        if reason is not None:
            raise click.UsageError("--reason goes with --applied or --absent.")
        _print_effect(invocation, resolver.resolve(effect_id))
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
    _print_effect(invocation, decided)


@effects.command("book")
@_effect_id
@pass_invocation
def book_effect(invocation: Invocation, *, effect_id: UUID) -> None:
    """Book an effect that succeeded while its postings were wrong, and end its break.

    Its operation makes the postings again from the stored receipt, so correct that first. What is booked already stays
    as it is.
    """
    _print_effect(invocation, invocation.runtime.effects.resolver.book(effect_id))


def _print_effect(invocation: Invocation, effect: Effect) -> None:
    if invocation.as_json:
        output.print_document(_effect_document(effect))
    else:
        output.print_line(f"{effect.id} {effect.state}" + (f": {effect.note}" if effect.note else ""))


def _parse_receipt(text: str) -> Any:
    from agentstate.state import codec

    try:
        return codec.loads(text)
    except InvalidInput as error:
        raise InvalidInput(f"the receipt is no JSON of ours: {error} No effect was changed.") from None


def _effect_document(effect: Effect) -> dict[str, Any]:
    fields = {name: getattr(effect, name) for name in effect.__dataclass_fields__}
    return {**fields, "params_sha": effect.params_sha.hex(), "state": str(effect.state)}


def _effect_cells(effect: Effect) -> tuple[Any, ...]:
    note = output.shorten_text(effect.note or "", 80)
    return effect.id, effect.agent_id, effect.operation, effect.key, str(effect.state), effect.called_at, note


_break_id = click.argument("break_id", metavar="ID", type=click.UUID)


@click.group(cls=Verbs)
def breaks() -> None:
    """List and resolve differences from the books.

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
    found = invocation.fleet.breaks.find(agent_id=agent_id, service=service, only_open=not everything, limit=limit)
    if invocation.as_json:
        output.print_document({"breaks": [_break_document(item) for item in found]})
    elif found:
        output.print_table(
            ("id", "agent", "service", "kind", "amount", "state", "opened", "told"), map(_break_cells, found)
        )
    else:
        output.print_line("no breaks match")


@breaks.command("show")
@_break_id
@pass_invocation
def show_break(invocation: Invocation, *, break_id: UUID) -> None:
    """Show everything about one break, with its evidence."""
    found = _break_document(invocation.fleet.breaks.get(break_id))
    if invocation.as_json:
        output.print_document(found)
    else:
        output.print_facts(found.items())


@breaks.command("acknowledge")
@_break_id
@click.option("--note", default="", help="What is being done about it.")
@_who
@pass_invocation
def acknowledge_break(invocation: Invocation, *, break_id: UUID, note: str, who: str | None) -> None:
    """Record that a break is under investigation.

    It stays open, and goes on counting for limits on unexplained amounts.
    """
    _print_break(invocation, invocation.fleet.breaks.acknowledge(break_id, who=who or getpass.getuser(), note=note))


@breaks.command("resolve")
@_break_id
@click.option("--reason", required=True, help="What was found out; kept with the break.")
@_who
@pass_invocation
def resolve_break(invocation: Invocation, *, break_id: UUID, reason: str, who: str | None) -> None:
    """Resolve a break with the reason that a human found.

    The books are not touched: post missing transactions before.
    """
    _print_break(invocation, invocation.fleet.breaks.resolve(break_id, who=who or getpass.getuser(), reason=reason))


def _print_break(invocation: Invocation, changed: Break) -> None:
    if invocation.as_json:
        output.print_document(_break_document(changed))
    else:
        output.print_line(f"{changed.id} {changed.state}: {changed.resolution}")


def _break_document(found: Break) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    amount, currency = (None, None) if found.amount is None else (str(found.amount.amount), found.amount.currency)
    return fields | {"amount": amount, "currency": currency}


def _break_cells(found: Break) -> tuple[Any, ...]:
    told = output.shorten_text(found.resolution or "", 60)
    return found.id, found.agent_id, found.service, found.kind, found.amount, found.state, found.opened_at, told


_DAY_S = 86_400


@click.group(cls=Verbs)
def guards() -> None:
    """Look at an agent's limits and freezes, and set them.

    They hold in every process from then on, and are checked in the transaction that takes the money. Those of the
    agent '*' are the fleet's: they bind each agent that has none of its own for the same.
    """


@guards.command("list")
@click.argument("agent")
@pass_invocation
def list_rules(invocation: Invocation, *, agent: str) -> None:
    """List the limits and freezes that bind AGENT, the fleet's among them."""
    found = _guards_of(invocation, agent).rules()
    if invocation.as_json:
        rules, frozen = (
            [_rule_document(rule) for rule in found.rules],
            [_freeze_document(freeze) for freeze in found.freezes],
        )
        output.print_document({"agent": agent, "rules": rules, "freezes": frozen})
        return
    for freeze in found.freezes:
        output.print_line(freeze.describe())
    if found.rules:
        output.print_table(
            ("id", "limit", "set by", "set at"),
            [(rule.id, rule.describe(), rule.set_by, rule.set_at) for rule in found.rules],
        )
    if not found.rules and not found.freezes:
        output.print_line(f"{agent} has no limits")


@guards.command("set")
@click.argument("agent")
@click.option("--per-operation", metavar="AMOUNT", help="The most that one operation may cost.")
@click.option("--total", metavar="AMOUNT", help="The most that all operations of the window may cost.")
@click.option("--loss", metavar="AMOUNT", help="The most that may be lost in the window.")
@click.option("--in-flight", metavar="AMOUNT", help="The most that may be held for outcomes not known yet.")
@click.option("--rate", type=click.IntRange(0), help="How many operations may begin in the window.")
@click.option("--unexplained", metavar="AMOUNT", help="Money moves are frozen while more than this is unexplained.")
@click.option("--service", default="*", show_default=True, help="Whom it binds.")
@click.option("--operation", default="*", show_default=True, help="Whom it binds, such as casino.bet.")
@click.option("--window", "window_s", type=click.IntRange(1), default=_DAY_S, show_default=True, help="Seconds.")
@click.option("--currency", default="USDC", show_default=True, help="Of the amounts.")
@_who
@pass_invocation
def set_rules(invocation: Invocation, /, *, agent: str, who: str | None, **limits: Any) -> None:
    """Set limits of AGENT.

    Each takes the place of the one for the same service, operation, currency and window.
    """
    if all(limits[name] is None for name in ("per_operation", "total", "loss", "in_flight", "rate", "unexplained")):
        raise click.UsageError("Name a limit: --per-operation, --total, --loss, --in-flight, --rate, --unexplained.")
    rules = _guards_of(invocation, agent).limit(**limits, who=who or getpass.getuser())
    if invocation.as_json:
        output.print_document({"agent": agent, "rules": [_rule_document(rule) for rule in rules]})
    else:
        for rule in rules:
            output.print_line(f"{rule.id} {rule.describe()}")


@guards.command("remove")
@click.argument("agent")
@click.argument("rule_id", metavar="ID", type=click.UUID)
@pass_invocation
def remove_rule(invocation: Invocation, *, agent: str, rule_id: Any) -> None:
    """Remove the limit ID of AGENT."""
    _guards_of(invocation, agent).remove(rule_id)
    _print_change(invocation, agent, "removed", str(rule_id), changed=True)


@guards.command("freeze")
@click.argument("agent")
@click.argument("service")
@click.argument("reason")
@_who
@pass_invocation
def freeze_service(invocation: Invocation, *, agent: str, service: str, reason: str, who: str | None) -> None:
    """Stop money moves of AGENT at SERVICE ("*" for all) that have not begun, until it is lifted."""
    changed = _guards_of(invocation, agent).freeze(service, reason, who=who or getpass.getuser())
    _print_change(invocation, agent, "frozen", service, changed=changed)


@guards.command("unfreeze")
@click.argument("agent")
@click.argument("service")
@_who
@pass_invocation
def unfreeze_service(invocation: Invocation, *, agent: str, service: str, who: str | None) -> None:
    """Lift the freeze of AGENT at SERVICE."""
    changed = _guards_of(invocation, agent).unfreeze(service, who=who or getpass.getuser())
    _print_change(invocation, agent, "unfrozen", service, changed=changed)


def _guards_of(invocation: Invocation, agent: str) -> Guards:
    from agentstate.money.guards import Guards

    return Guards(invocation.runtime.store, agent)


def _print_change(invocation: Invocation, agent: str, done: str, what: str, *, changed: bool) -> None:
    if invocation.as_json:
        output.print_document({"agent": agent, done: what, "changed": changed})
    else:
        output.print_line(f"{done} {what}" + ("" if changed else " (it was already)"))


def _rule_document(rule: Rule) -> dict[str, Any]:
    from agentstate.money.amounts import Money

    most = rule.maximum
    return {
        "id": rule.id,
        "agent": rule.agent_id,
        "service": rule.service,
        "operation": rule.operation,
        "kind": str(rule.kind),
        "maximum": str(most.amount) if isinstance(most, Money) else most,
        "currency": rule.currency,
        "window_s": rule.window_s,
        "set_by": rule.set_by,
        "set_at": rule.set_at,
        "text": rule.describe(),
    }


def _freeze_document(freeze: Freeze) -> dict[str, Any]:
    names = ("agent_id", "service", "reason", "frozen_by", "frozen_at")
    return {name: getattr(freeze, name) for name in names}
