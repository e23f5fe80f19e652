"""Planted bugs: each is a mistake that somebody could make in our code, made here by a patch of the running process.

A harness that finds nothing wrong proves little until it has found these. They are planted in processes that were
forked for that and end with them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from agentstate.errors import ServiceInDoubt, ServiceUnreachable
from agentstate.money import Guarantee
from agentstate.money.effects import claims as effect_plan
from agentstate.money.effects import engine as effect_engine
from agentstate.money.effects import resolver as effect_resolver
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.engine import Effects
from agentstate.money.effects.operation import FunctionCall
from agentstate.money.effects.recorder import OutcomeRecorder
from agentstate.money.effects.table import Effect


@dataclass(frozen=True)
class Bug:
    """One bug, and where it has to show."""

    plant: Callable[[], None]
    guarantee: Guarantee
    shown_by: str = "points"
    """`points`, or the name of a run of `tests.chaos.money.scenarios`."""


def plant(name: str) -> None:
    """Patch this process so that it has the bug called `name`; "" is none."""
    if name:
        BUGS[name].plant()


def _intent_after_the_call() -> None:
    """The call is made first, and written down as an intent afterwards."""
    execute_once = Effects.execute_once

    def called_first(self: Effects, agent_id: str, key: str, operation: Any, **options: Any) -> Any:
        if self.find(agent_id, key) is None:
            receipt = operation.function(effect_plan.make_remote_key(b"chaos", agent_id, key))
            object.__setattr__(operation, "function", lambda _tag: receipt)
        return execute_once(self, agent_id, key, operation, **options)

    Effects.execute_once = called_first  # type: ignore[method-assign, assignment]


def _outcome_and_postings_apart() -> None:
    """The outcome is committed, then the postings are."""

    def end(self: OutcomeRecorder, claim: Any, record: Any, *, suspend: bool = False) -> None:
        with self._store.transaction() as tx:
            mine = self._write_outcome(tx, claim, record)
        if mine:
            with self._store.transaction() as tx:
                record.book(tx, claim.effect, write_outcome=lambda: True, suspend=suspend)
                record.follow_up(tx)

    OutcomeRecorder._end = end  # type: ignore[method-assign]


def _fence_not_checked() -> None:
    """Whoever comes late changes the row all the same."""

    def guarded(tx: Any, effect_id: Any, _fence: int, values: Any) -> bool:
        mine = sa.update(effect_rows.effects).where(effect_rows.effects.c.id == effect_id)
        return bool(tx.connection.execute(mine.values(values)).rowcount == 1)

    effect_rows.update_claimed = guarded


def _lease_not_checked() -> None:
    """Another process is never taken to be at work."""
    Effect.is_leased = property(lambda _self: False)  # type: ignore[assignment, method-assign]
    effect_rows.without_lease = sa.true


def _lost_answer_taken_for_a_refusal() -> None:
    """A call without an answer is taken for one that was never sent."""
    record_meaning = OutcomeRecorder._record_meaning

    def optimistic(self: OutcomeRecorder, claim: Any, error: BaseException) -> Exception:
        taken_for = ServiceUnreachable("no answer") if isinstance(error, ServiceInDoubt) else error
        return record_meaning(self, claim, taken_for)

    OutcomeRecorder._record_meaning = optimistic  # type: ignore[method-assign]


def _absence_trusted_too_soon() -> None:
    """What is not there is taken for what will never be there."""

    def look_up(effect: Effect, operation: Any, outside: Callable[[], Any]) -> Any:
        return operation.verify(outside(), effect.to_intent())

    effect_engine.look_up = effect_resolver.look_up = look_up


def _never_looked_up() -> None:
    """Whoever comes back calls again without looking."""

    def again(self: Effects, plan: Any, claim: Any) -> Any:
        return self._begin_attempt(plan, claim, clean=False)

    Effects._resume = again  # type: ignore[method-assign]


def _new_key_at_each_attempt() -> None:
    """The remote is given another key each time."""

    def renamed(self: FunctionCall[Any], _outside: Any, _intent: Any) -> Any:
        return self.function(uuid.uuid4().hex)

    FunctionCall.send = renamed  # type: ignore[method-assign]


BUGS = {
    "the intent is written after the call": Bug(_intent_after_the_call, Guarantee.VERIFIABLE),
    "outcome and postings in two transactions": Bug(_outcome_and_postings_apart, Guarantee.KEYED),
    "called again without looking": Bug(_never_looked_up, Guarantee.VERIFIABLE),
    "a new key at each attempt": Bug(_new_key_at_each_attempt, Guarantee.KEYED),
    "a lost answer is taken for a refusal": Bug(_lost_answer_taken_for_a_refusal, Guarantee.VERIFIABLE, "answers lost"),
    "the fence is not checked": Bug(_fence_not_checked, Guarantee.VERIFIABLE, "late hand-back"),
    "the lease is not checked": Bug(_lease_not_checked, Guarantee.KEYED, "20 callers, one key"),
    "absence is trusted before the settle time": Bug(
        _absence_trusted_too_soon, Guarantee.VERIFIABLE, "applied after the client died"
    ),
}
"""By what they are called in the table."""
