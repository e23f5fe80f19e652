"""The gate: whether an agent may do what it is about to do, decided in the transaction that takes the money for it.

Whoever asks has written its own row before, and keeps the locks of the rules until it commits. So any number of
processes that ask together are let in one after the other, each seeing all before it.
"""

from __future__ import annotations

from agentstate.errors import Frozen, LimitExceeded
from agentstate.money.guards import rule_rows
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.guards.rules import GuardRequest, Rule, RuleKind
from agentstate.money.guards.usage import measure_usage
from agentstate.store.store import Transaction


def authorize_request(tx: Transaction, ask: GuardRequest) -> None:
    """Return when freezes and rules allow `ask`, whose row is written in `tx`; roll `tx` back when they do not.

    Raises:
        Frozen: a freeze is in force, or more is unexplained than a rule allows.
        LimitExceeded: names the limit, what is used of it, and what was asked for.
    """
    if not require_not_frozen(tx, ask.agent_id, ask.service):
        return
    for rule in rule_rows.lock_rules(tx, ask):
        _check(tx, rule, ask)


def _check(tx: Transaction, rule: Rule, ask: GuardRequest) -> None:
    asked = ask.requested_quantity(rule)
    if rule.kind is RuleKind.UNEXPLAINED:
        _refuse_unexplained(rule, ask, measure_usage(tx, rule, ask))
    elif asked:
        taken = measure_usage(tx, rule, ask)
        if taken + asked > rule.number:
            raise _exceeded(rule, ask, max(taken, 0), asked)


def _refuse_unexplained(rule: Rule, ask: GuardRequest, unexplained: int) -> None:
    if unexplained > rule.number:
        raise Frozen(
            f"money moves of {ask.agent_id} at {ask.service} are stopped: effects that wait for a human and open "
            f"breaks are above {rule.maximum}. Nothing was called and nothing was posted; explain them first."
        )


def _exceeded(rule: Rule, ask: GuardRequest, taken: int, asked: int) -> LimitExceeded:
    known = rule.quantity(taken), rule.quantity(asked)
    shown = [f"{quantity} operations" if rule.kind is RuleKind.RATE else str(quantity) for quantity in known]
    return LimitExceeded(
        f"{ask.operation} of {ask.agent_id} at {ask.service} is over its limit ({rule.describe().rstrip('.')}): "
        f"{shown[0]} used, {shown[1]} asked. Nothing was called and nothing was posted.",
        rule=str(rule.kind),
        limit=rule.maximum,
        used=known[0],
        asked=known[1],
    )
