"""The stored rules of agents, and the lock that asking takes on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.money.amounts import Money
from agentstate.money.guards.rules import EVERY, GuardRequest, Rule, RuleKind
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.guards import guard_rules
from agentstate.store.upsert import insert_new


def upsert_rules(tx: Transaction, rules: Iterable[Rule]) -> None:
    """Set rules, each in the place of the one of the same name; in the order in which askers lock them."""
    for rule in sorted(rules, key=lambda rule: rule.id):
        if not insert_new(tx, guard_rules, [_row(rule)]):
            changes = {"maximum": rule.number, "set_by": rule.set_by, "set_at": db_time()}
            tx.connection.execute(sa.update(guard_rules).where(guard_rules.c.id == rule.id).values(changes))


def delete_rule(tx: Transaction, agent_id: str, rule_id: UUID) -> bool:
    """Remove a rule of an agent; False when it has none with this id."""
    mine = (guard_rules.c.id == rule_id) & (guard_rules.c.agent_id == agent_id)
    return tx.connection.execute(sa.delete(guard_rules).where(mine)).rowcount == 1


def read_rules(connection: Connection, agent_id: str) -> list[Rule]:
    """The rules that bind an agent, its own before the fleet's, in the order people read them."""
    table = guard_rules.c
    order = (table.agent_id.desc(), table.service, table.operation, table.kind, table.currency, table.window_s)
    found = sa.select(guard_rules).where(table.agent_id.in_([agent_id, EVERY])).order_by(*order)
    return _own_first([_rule(row) for row in connection.execute(found)])


def lock_rules(tx: Transaction, ask: GuardRequest) -> list[Rule]:
    """The rules that apply to `ask`, locked until the end of `tx`: whoever asks next sees what this one has taken.

    The fleet's come first, and are locked for this agent alone, so that agents never wait for each other; then the
    agent's own in the order of their ids, so that two who ask never wait for each other in a circle.
    """
    table = guard_rules.c
    here = table.service.in_((ask.service, EVERY)) & table.operation.in_((ask.operation, EVERY))
    applies = sa.select(guard_rules).where(here).order_by(table.id)
    fleet = [_rule(row) for row in tx.connection.execute(applies.where(table.agent_id == EVERY))]
    if fleet:
        tx.database.lock_key(tx.connection, sa.func.hashtextextended(f"guards of {ask.agent_id}", 0))
    mine = applies.where(table.agent_id == ask.agent_id).with_for_update()
    return _own_first([*(_rule(row) for row in tx.connection.execute(mine)), *fleet])


def _own_first(rules: Iterable[Rule]) -> list[Rule]:
    """Each rule that no other before it has the name of."""
    named: dict[object, Rule] = {}
    for rule in rules:
        named.setdefault(rule.name, rule)
    return list(named.values())


def _row(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "agent_id": rule.agent_id,
        "service": rule.service,
        "operation": rule.operation,
        "kind": str(rule.kind),
        "currency": rule.currency,
        "maximum": rule.number,
        "window_s": rule.window_s,
        "set_by": rule.set_by,
        "set_at": db_time(),
    }


def _rule(row: sa.Row[Any]) -> Rule:
    return Rule(
        agent_id=row.agent_id,
        service=row.service,
        operation=row.operation,
        kind=RuleKind(row.kind),
        maximum=row.maximum if row.currency is None else Money.from_minor(row.maximum, row.currency),
        window_s=row.window_s,
        set_by=row.set_by,
        set_at=row.set_at,
    )
