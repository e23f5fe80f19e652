"""How much of a rule is used, read from what is stored: effects, their postings, and uses without an effect.

The idea: there is no counter that could run apart from the facts. One statement measures one rule, so that it sees one
moment; the rule's lock keeps everybody else who asks out until the asker has committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from agentstate.money.amounts import MAX_MINOR
from agentstate.money.effects.table import ENDED_STATES, EffectState
from agentstate.money.guards.rules import EVERY, GuardRequest, Rule, RuleKind
from agentstate.money.ledger.ledger import HOLD
from agentstate.money.ledger.postings import OWNED_BUCKETS, Bucket
from agentstate.money.ledger.shared_balances import balance_service, services_of_balance
from agentstate.money.reconciliation.breaks import EFFECT_MANUAL
from agentstate.store.store import Transaction
from agentstate.store.tables.base import statement_time
from agentstate.store.tables.guards import guard_uses
from agentstate.store.tables.money import accounts, breaks, effects, entries, ledger_transactions

_OPEN_EFFECT = effects.c.state.not_in(ENDED_STATES)


def measure_usage(tx: Transaction, rule: Rule, ask: GuardRequest) -> int:
    """How much of `rule` is used at this moment without `ask`: minor units, or a count. Below zero after winning."""
    parts = [part(rule, ask).scalar_subquery() for part in _MEASURES[rule.kind]]
    # Added here, where integers have no end: SQLite would go on in floats beyond 64 bits.
    return sum(int(part) for part in tx.connection.execute(sa.select(*parts)).one()) if parts else 0


def _spent_by_effects(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    """Per effect what it held or, if that is more, what it took from what was available."""
    bucket, amount = accounts.c.bucket, entries.c.amount
    holds = (bucket == Bucket.IN_FLIGHT) & (ledger_transactions.c.kind == HOLD)
    held = sa.func.sum(sa.case((holds, amount), else_=0))
    taken = sa.func.sum(sa.case((bucket == Bucket.AVAILABLE, -amount), else_=0))
    counts = sa.or_(effects.c.created_at > ask.window_start(rule), _OPEN_EFFECT)
    happened = effects.c.state != EffectState.FAILED
    each = _moves(sa.case((held > taken, held), else_=taken).label("cost"), rule, ask)
    costs = each.where(counts, happened).group_by(effects.c.id).subquery()
    return sa.select(_total(costs.c.cost))


def _lost_by_effects(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    """What the entries of the window took from all that the agent owns; holding moves money within that."""
    recorded = ledger_transactions.c.recorded_at > ask.window_start(rule)
    return _moves(_total(-entries.c.amount), rule, ask).where(recorded, accounts.c.bucket.in_(OWNED_BUCKETS))


def _held_by_effects(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    return _moves(_total(entries.c.amount), rule, ask).where(accounts.c.bucket == Bucket.IN_FLIGHT, _OPEN_EFFECT)


def _count_of_effects(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    counts = effects.c.created_at > ask.window_start(rule)
    return sa.select(sa.func.count()).select_from(effects).where(*_bound(effects, rule, ask), counts)


def _spent_by_uses(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    return _uses(rule, ask).where(sa.or_(guard_uses.c.began_at > ask.window_start(rule), _open_use()))


def _open_uses(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    return _uses(rule, ask).where(_open_use())


def _count_of_uses(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    counts = guard_uses.c.began_at > ask.window_start(rule)
    return sa.select(sa.func.count()).select_from(guard_uses).where(*_bound(guard_uses, rule, ask), counts)


def _manual(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    """Money of effects that a human has to find out, wherever the asked service's balance is kept."""
    here = effects.c.service.in_(services_of_balance(balance_service(ask.service)))
    stuck = effects.c.state == EffectState.MANUAL
    return _moves(_total(entries.c.amount), rule, ask).where(here, stuck, accounts.c.bucket == Bucket.IN_FLIGHT)


def _broken(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    return _breaks(_total(sa.func.abs(breaks.c.amount)), ask).where(breaks.c.currency == rule.currency)


def _broken_by_nobody_knows_what(_rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    """As much as there can be, when an open break is about an amount that is not known."""
    some = sa.case((sa.func.count() > 0, sa.literal(MAX_MINOR, sa.BigInteger())), else_=0)
    return _breaks(some, ask).where(breaks.c.amount.is_(None), breaks.c.kind != EFFECT_MANUAL)


_MEASURES: dict[RuleKind, tuple[Callable[[Rule, GuardRequest], sa.Select[Any]], ...]] = {
    RuleKind.OPERATION: (),
    RuleKind.TOTAL: (_spent_by_effects, _spent_by_uses),
    RuleKind.LOSS: (_lost_by_effects, _held_by_effects, _open_uses),
    RuleKind.IN_FLIGHT: (_held_by_effects, _open_uses),
    RuleKind.RATE: (_count_of_effects, _count_of_uses),
    RuleKind.UNEXPLAINED: (_manual, _broken, _broken_by_nobody_knows_what),
}


def _moves(what: sa.ColumnElement[Any], rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    """`what` over the entries that effects bound by the rule made in their own agent's books."""
    joined = (
        effects.join(ledger_transactions, ledger_transactions.c.effect_id == effects.c.id)
        .join(entries, entries.c.txn_id == ledger_transactions.c.id)
        .join(accounts, accounts.c.id == entries.c.account_id)
    )
    own = (ledger_transactions.c.agent_id == effects.c.agent_id) & (accounts.c.currency == rule.currency)
    return sa.select(what).select_from(joined).where(*_bound(effects, rule, ask), own)


def _breaks(what: sa.ColumnElement[Any], ask: GuardRequest) -> sa.Select[Any]:
    mine = (breaks.c.agent_id == ask.agent_id) & breaks.c.resolved_at.is_(None)
    return sa.select(what).where(mine, breaks.c.service.in_(services_of_balance(balance_service(ask.service))))


def _uses(rule: Rule, ask: GuardRequest) -> sa.Select[Any]:
    same = guard_uses.c.currency == rule.currency
    return sa.select(_total(guard_uses.c.amount)).where(*_bound(guard_uses, rule, ask), same)


def _bound(table: sa.Table, rule: Rule, ask: GuardRequest) -> list[sa.ColumnElement[bool]]:
    """Rows of `table`, effects or uses, that the rule binds; without the one that asks."""
    conditions = [table.c.agent_id == ask.agent_id, table.c.id != ask.id]
    if rule.service != EVERY:
        conditions.append(table.c.service == rule.service)
    if rule.operation != EVERY:
        conditions.append(table.c.operation == rule.operation)
    return conditions


def _open_use() -> sa.ColumnElement[bool]:
    return guard_uses.c.ended_at.is_(None) & (guard_uses.c.expires_at > statement_time())


def _total(amount: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(amount), 0)
