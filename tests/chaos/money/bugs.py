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
from agentstate.money.effects import call_errors as effect_errors
from agentstate.money.effects import claims as effect_claims
from agentstate.money.effects import engine as effects
from agentstate.money.effects import lookup as effect_lookup
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.bookings import Happened
from agentstate.money.effects.engine import Effects
from agentstate.money.effects.recorder import OutcomeRecorder
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.ledger.ledger import SETTLE


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
    run = Effects._run

    def called_first(self: Effects, plan: Any) -> Any:
        with self._store.read_connection() as connection:
            known = effect_rows.by_key(connection, self.agent_id, plan.key)
        if known is None:
            receipt = plan.call(effect_claims.remote_key(self._secret, self.agent_id, plan.key))
            object.__setattr__(plan, "call", lambda _tag: receipt)
        return run(self, plan)

    Effects._run = called_first  # type: ignore[method-assign]


def _outcome_and_postings_apart() -> None:
    """The outcome is committed, then the postings are."""

    def finish(self: OutcomeRecorder, claim: Any, success: Any, *, suspend: bool = False) -> None:
        happened = Happened.by(success.receipt, success.bookings)
        with self._store.transaction() as tx:
            mine = self._ended(tx, claim, EffectState.SUCCEEDED, success.envelope)
        if mine:
            with self._store.transaction() as tx:
                self._books.book(tx, claim.effect, happened, SETTLE, suspend=suspend)
                success.bookings.follow_up(tx, success.receipt)

    OutcomeRecorder._finish = finish  # type: ignore[method-assign]


def _fence_not_checked() -> None:
    """Whoever comes late changes the row all the same."""

    def guarded(tx: Any, effect_id: Any, _fence: int, values: Any) -> bool:
        mine = sa.update(effect_rows.effects).where(effect_rows.effects.c.id == effect_id)
        return bool(tx.connection.execute(mine.values(values)).rowcount == 1)

    effect_rows._guarded = guarded


def _lease_not_checked() -> None:
    """Another process is never taken to be at work."""
    Effect.leased = property(lambda _self: False)  # type: ignore[assignment, method-assign]
    effect_rows._unleased = sa.true


def _lost_answer_taken_for_a_refusal() -> None:
    """A call without an answer is taken for one that was never sent."""
    recorded = effect_errors._recorded

    def optimistic(recorder: Any, claim: Any, error: BaseException) -> Exception:
        taken_for = ServiceUnreachable("no answer") if isinstance(error, ServiceInDoubt) else error
        return recorded(recorder, claim, taken_for)

    effect_errors._recorded = optimistic


def _absence_trusted_too_soon() -> None:
    """What is not there is taken for what will never be there."""

    def look(_effect: Effect, verify: Callable[[], Any]) -> Any:
        return verify()

    effects.look = effect_lookup.look = look


def _never_looked_up() -> None:
    """Whoever comes back calls again without looking."""

    def again(self: Effects, plan: Any, claim: Any) -> Any:
        return self._again(plan, claim, clean=False)

    Effects._resume = again  # type: ignore[method-assign]


def _new_key_at_each_attempt() -> None:
    """The remote is given another key each time."""
    run = Effects._run

    def renamed(self: Effects, plan: Any) -> Any:
        call = plan.call
        object.__setattr__(plan, "call", lambda _tag: call(uuid.uuid4().hex))
        return run(self, plan)

    Effects._run = renamed  # type: ignore[method-assign]


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
