"""`agentstate guards`: an agent's limits and freezes, looked at and set by people."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verbs

if TYPE_CHECKING:
    from agentstate.money.guards import Freeze, Guards, Rule

_DAY_S = 86_400
_who = click.option("--who", default=None, help="Who does it, for the record; your login name when unset.")


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
    found = _of(invocation, agent).rules()
    if invocation.as_json:
        rules, frozen = [_rule(rule) for rule in found.rules], [_freeze(freeze) for freeze in found.freezes]
        output.print_document({"agent": agent, "rules": rules, "freezes": frozen})
        return
    for freeze in found.freezes:
        output.print_line(freeze.describe())
    if found.rules:
        output.print_table(("id", "limit", "set by", "set at"), [_row(rule) for rule in found.rules])
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
    rules = _of(invocation, agent).limit(**limits, who=who or getpass.getuser())
    if invocation.as_json:
        output.print_document({"agent": agent, "rules": [_rule(rule) for rule in rules]})
    else:
        for rule in rules:
            output.print_line(f"{rule.id} {rule.describe()}")


@guards.command()
@click.argument("agent")
@click.argument("rule_id", metavar="ID", type=click.UUID)
@pass_invocation
def remove(invocation: Invocation, *, agent: str, rule_id: Any) -> None:
    """Remove the limit ID of AGENT."""
    _of(invocation, agent).remove(rule_id)
    _tell(invocation, agent, "removed", str(rule_id), changed=True)


@guards.command()
@click.argument("agent")
@click.argument("service")
@click.argument("reason")
@_who
@pass_invocation
def freeze(invocation: Invocation, *, agent: str, service: str, reason: str, who: str | None) -> None:
    """Stop money moves of AGENT at SERVICE ("*" for all) that have not begun, until it is lifted."""
    changed = _of(invocation, agent).freeze(service, reason, who=who or getpass.getuser())
    _tell(invocation, agent, "frozen", service, changed=changed)


@guards.command()
@click.argument("agent")
@click.argument("service")
@_who
@pass_invocation
def unfreeze(invocation: Invocation, *, agent: str, service: str, who: str | None) -> None:
    """Lift the freeze of AGENT at SERVICE."""
    changed = _of(invocation, agent).unfreeze(service, who=who or getpass.getuser())
    _tell(invocation, agent, "unfrozen", service, changed=changed)


def _of(invocation: Invocation, agent: str) -> Guards:
    from agentstate.money.guards import Guards

    return Guards(invocation.runtime.store, agent)


def _tell(invocation: Invocation, agent: str, done: str, what: str, *, changed: bool) -> None:
    if invocation.as_json:
        output.print_document({"agent": agent, done: what, "changed": changed})
    else:
        output.print_line(f"{done} {what}" + ("" if changed else " (it was already)"))


def _rule(rule: Rule) -> dict[str, Any]:
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


def _freeze(freeze: Freeze) -> dict[str, Any]:
    names = ("agent_id", "service", "reason", "frozen_by", "frozen_at")
    return {name: getattr(freeze, name) for name in names}


def _row(rule: Rule) -> tuple[Any, ...]:
    return rule.id, rule.describe(), rule.set_by, rule.set_at
