"""Authorization: whether an agent may start an operation, decided in the transaction that holds the money for it.

There is no counter that could run apart from the facts: usage is measured from effects, their postings, and uses
without an effect. A request has written its own row before, and keeps the locks of the rules until it commits, so
requests of any number of processes are decided one after the other, each seeing all before it.

Where limits bind the money of an operation, an amount in a currency that none of them names is refused: it would escape
them all. For the same reason an unexplained difference in such a currency freezes money moves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from agentstate.errors import Frozen, LimitExceeded
from agentstate.money.amounts import MAX_MINOR, Money
from agentstate.money.effects.table import ENDED_STATES, EffectState
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.guards.rules import EVERY, SPENDING, GuardRequest, Rule, RuleKind, lock_rules
from agentstate.money.ledger.postings import OWNED_BUCKETS, Bucket, balance_service, services_of_balance
from agentstate.money.ledger.statement import HOLD
from agentstate.money.reconciliation.breaks import EFFECT_MANUAL
from agentstate.store.store import Transaction
from agentstate.store.tables.base import statement_time
from agentstate.store.tables.guards import guard_uses
from agentstate.store.tables.minor_units import MinorUnits, minor_max, minor_negation, minor_size, minor_sum
from agentstate.store.tables.money import accounts, breaks, effects, entries, ledger_transactions

_OPEN_EFFECT = effects.c.state.not_in(ENDED_STATES)
_OPEN_USE = guard_uses.c.ended_at.is_(None) & (guard_uses.c.expires_at > statement_time())


def authorize_request(tx: Transaction, request: GuardRequest) -> None:
    """Return if freezes and rules allow `request`, which is written in `tx`; roll `tx` back when this raises.

    Raises:
        Frozen: a freeze is in force, or more is unexplained than a rule allows.
        LimitExceeded: names the limit, its usage, and the requested amount.
    """
    if not require_not_frozen(tx, request.agent_id, request.service):
        return
    rules = lock_rules(tx, request)
    _require_limited_currency(rules, request)
    explained_in = {rule.currency for rule in rules if rule.kind is RuleKind.UNEXPLAINED and rule.currency}
    for rule in rules:
        asked = request.requested_quantity(rule)
        if rule.kind is not RuleKind.UNEXPLAINED and not asked:
            continue
        used = measure_usage(tx, rule, request, covered=explained_in)
        if rule.kind is RuleKind.UNEXPLAINED:
            if used > rule.number:
                raise Frozen(
                    f"money moves of {request.agent_id} at {request.service} are stopped: effects that wait for a "
                    f"human and open breaks are above {rule.maximum}. Nothing was called and nothing was posted; "
                    "explain them first."
                )
        elif used + asked > rule.number:
            known = rule.quantity(max(used, 0)), rule.quantity(asked)
            shown = [f"{quantity} operations" if rule.kind is RuleKind.RATE else str(quantity) for quantity in known]
            raise LimitExceeded(
                f"{request.operation} of {request.agent_id} at {request.service} is over its limit "
                f"({rule.describe().rstrip('.')}): {shown[0]} used, {shown[1]} asked. Nothing was called and nothing "
                "was posted.",
                rule=str(rule.kind),
                limit=rule.maximum,
                used=known[0],
                asked=known[1],
            )


def measure_usage(tx: Transaction, rule: Rule, request: GuardRequest, *, covered: Collection[str] = ()) -> int:
    """Return how much of `rule` is used without `request`: minor units, or a count; negative after winnings.

    One statement measures one rule, so that it sees one moment.

    Args:
        tx: the transaction that holds the lock of the rule.
        rule: the rule.
        request: names the agent and the service, and ends the window.
        covered: currencies that other rules of `unexplained` measure.
    """
    parts = [part(rule, request) for part in _MEASURES[rule.kind]]
    if rule.kind is RuleKind.UNEXPLAINED:
        parts += _select_uncovered(request, {rule.currency or "", *covered})
    if not parts:
        return 0
    row = tx.connection.execute(sa.select(*(part.scalar_subquery() for part in parts))).one()
    return sum(int(part) for part in row)


def _require_limited_currency(rules: Sequence[Rule], request: GuardRequest) -> None:
    """Raise LimitExceeded for an amount in a currency that none of the limits on spending names, if there are any."""
    limits = [rule for rule in rules if rule.kind in SPENDING]
    amount = request.amount
    if amount is None or not limits or any(rule.currency == amount.currency for rule in limits):
        return
    named = ", ".join(sorted({rule.currency or "" for rule in limits}))
    raise LimitExceeded(
        f"{request.operation} of {request.agent_id} at {request.service} asks for {amount}, but its limits are in "
        f"{named} only and would not count it. Nothing was called and nothing was posted; set a limit in "
        f"{amount.currency} to allow it.",
        rule=str(limits[0].kind),
        limit=limits[0].maximum,
        used=Money.zero(amount.currency),
        asked=amount,
    )


def _select_effect_costs(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    """Sum over effects: the hold, or the money taken from available if that is more."""
    bucket, amount = accounts.c.bucket, entries.c.amount
    holds = (bucket == Bucket.IN_FLIGHT) & (ledger_transactions.c.kind == HOLD)
    held = minor_sum(sa.case((holds, amount), else_=0))
    taken = minor_negation(minor_sum(sa.case((bucket == Bucket.AVAILABLE, amount), else_=0)))
    counts = sa.or_(effects.c.created_at > request.window_start(rule), _OPEN_EFFECT)
    happened = effects.c.state != EffectState.FAILED
    each = _select_moves(minor_max(held, taken).label("cost"), rule, request)
    costs = each.where(counts, happened).group_by(effects.c.id).subquery()
    return sa.select(_sum_or_zero(costs.c.cost))


def _select_effect_losses(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    """Money that the entries of the window took from all owned buckets; a hold moves money within those."""
    recorded = ledger_transactions.c.recorded_at > request.window_start(rule)
    lost = _select_moves(_sum_or_zero(minor_negation(entries.c.amount)), rule, request)
    return lost.where(recorded, accounts.c.bucket.in_(OWNED_BUCKETS))


def _select_effect_holds(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    held = _select_moves(_sum_or_zero(entries.c.amount), rule, request)
    return held.where(accounts.c.bucket == Bucket.IN_FLIGHT, _OPEN_EFFECT)


def _count_effects(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    counts = effects.c.created_at > request.window_start(rule)
    return sa.select(sa.func.count()).select_from(effects).where(*_in_scope(effects, rule, request), counts)


def _select_use_costs(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    return _select_uses(rule, request).where(sa.or_(guard_uses.c.began_at > request.window_start(rule), _OPEN_USE))


def _select_open_uses(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    return _select_uses(rule, request).where(_OPEN_USE)


def _count_uses(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    counts = guard_uses.c.began_at > request.window_start(rule)
    return sa.select(sa.func.count()).select_from(guard_uses).where(*_in_scope(guard_uses, rule, request), counts)


def _select_manual_holds(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    """Money of effects that wait for a human, at all services of the requested one's balance."""
    here = effects.c.service.in_(services_of_balance(balance_service(request.service)))
    manual = effects.c.state == EffectState.MANUAL
    held = _select_moves(_sum_or_zero(entries.c.amount), rule, request)
    return held.where(here, manual, accounts.c.bucket == Bucket.IN_FLIGHT)


def _select_break_amounts(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    return _select_breaks(_sum_or_zero(minor_size(breaks.c.amount)), request).where(breaks.c.currency == rule.currency)


def _unknown_break_exceeds_any_limit(_rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    """Count an open break without an amount as the maximum, so that every limit is exceeded."""
    return _select_breaks(_MAX_IF_ANY, request).where(breaks.c.amount.is_(None), breaks.c.kind != EFFECT_MANUAL)


def _select_uncovered(request: GuardRequest, covered: Collection[str]) -> list[sa.Select[Any]]:
    """Count open breaks and manual holds in currencies that no rule measures (not `covered`) as the maximum."""
    other_breaks = _select_breaks(_MAX_IF_ANY, request).where(breaks.c.currency.not_in(covered))
    held = (
        sa.select(_MAX_IF_ANY)
        .select_from(_MOVES)
        .where(
            effects.c.agent_id == request.agent_id,
            effects.c.service.in_(services_of_balance(balance_service(request.service))),
            effects.c.state == EffectState.MANUAL,
            accounts.c.bucket == Bucket.IN_FLIGHT,
            accounts.c.currency.not_in(covered),
        )
    )
    return [other_breaks, held]


_MAX_IF_ANY = sa.case((sa.func.count() > 0, sa.literal(MAX_MINOR, MinorUnits())), else_=0)
_MOVES = (
    effects.join(ledger_transactions, ledger_transactions.c.effect_id == effects.c.id)
    .join(entries, entries.c.txn_id == ledger_transactions.c.id)
    .join(accounts, accounts.c.id == entries.c.account_id)
)
_MEASURES: dict[RuleKind, tuple[Callable[[Rule, GuardRequest], sa.Select[Any]], ...]] = {
    RuleKind.OPERATION: (),
    RuleKind.TOTAL: (_select_effect_costs, _select_use_costs),
    RuleKind.LOSS: (_select_effect_losses, _select_effect_holds, _select_open_uses),
    RuleKind.IN_FLIGHT: (_select_effect_holds, _select_open_uses),
    RuleKind.RATE: (_count_effects, _count_uses),
    RuleKind.UNEXPLAINED: (_select_manual_holds, _select_break_amounts, _unknown_break_exceeds_any_limit),
}


def _select_moves(column: sa.ColumnElement[Any], rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    """Select `column` over the entries that effects in the rule's scope made in their own agent's books."""
    own = (ledger_transactions.c.agent_id == effects.c.agent_id) & (accounts.c.currency == rule.currency)
    return sa.select(column).select_from(_MOVES).where(*_in_scope(effects, rule, request), own)


def _select_breaks(column: sa.ColumnElement[Any], request: GuardRequest) -> sa.Select[Any]:
    mine = (breaks.c.agent_id == request.agent_id) & breaks.c.resolved_at.is_(None)
    here = breaks.c.service.in_(services_of_balance(balance_service(request.service)))
    return sa.select(column).select_from(breaks).where(mine, here)


def _select_uses(rule: Rule, request: GuardRequest) -> sa.Select[Any]:
    same = guard_uses.c.currency == rule.currency
    return sa.select(_sum_or_zero(guard_uses.c.amount)).where(*_in_scope(guard_uses, rule, request), same)


def _in_scope(table: sa.Table, rule: Rule, request: GuardRequest) -> list[sa.ColumnElement[bool]]:
    """Rows of `table`, effects or uses, that the rule binds, without the request's own."""
    conditions = [table.c.agent_id == request.agent_id, table.c.id != request.id]
    if rule.service != EVERY:
        conditions.append(table.c.service == rule.service)
    if rule.operation != EVERY:
        conditions.append(table.c.operation == rule.operation)
    return conditions


def _sum_or_zero(amount: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(minor_sum(amount), sa.literal(0, MinorUnits()))
