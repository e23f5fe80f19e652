"""Looking for effects that are in doubt, by the name of their operation, and acting on what is found.

"It is there" is conclusive at once; "it is not there" only after the settle window, because a request may still be on
its way. Looking itself may fail; then nothing is known, which is not the same as nothing happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from agentstate.errors import AgentStateError, EffectInProgress, InvalidInput
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.bookings import Bookings
from agentstate.money.effects.call_errors import record_error
from agentstate.money.effects.claims import Claim
from agentstate.money.effects.first_refusals import called
from agentstate.money.effects.operations import Operation, Operations
from agentstate.money.effects.outcomes import plain
from agentstate.money.effects.plan import EffectRules, JobQueue
from agentstate.money.effects.recorder import OutcomeRecorder
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.state import codec
from agentstate.store.store import Store

_log = logging.getLogger(__name__)


def look(effect: Effect, verify: Callable[[], Verdict]) -> Verdict:
    """What `verify` finds; Unknown when it fails, or finds nothing too early."""
    try:
        verdict = verify()
    except Exception as error:  # noqa: BLE001 whatever went wrong while looking, the effect is as unknown as before
        return Unknown(codec.legible(f"looking failed: {type(error).__name__}: {error}", 500))
    if isinstance(verdict, Absent) and effect.read_at < effect.settles_at:
        return Unknown(f"not there yet; conclusive from {effect.settles_at:%H:%M:%S} UTC on")
    return verdict


def bookings_of(operation: Operation, params: effect_rows.Params) -> Bookings:
    """How a registered operation books its receipt."""
    return Bookings(
        postings=lambda receipt: operation.postings(params, receipt),
        credits=lambda receipt: operation.credits(params, receipt),
    )


class EffectResolver:
    """Resolves effects of any agent by the name of their operation."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        gateway: object,
        *,
        jobs: JobQueue | None = None,
        rules: EffectRules | None = None,
    ) -> None:
        self._store = store
        self._operations = operations
        self._gateway = gateway
        self._rules = rules or EffectRules()
        self._recorder = OutcomeRecorder(store, jobs=jobs, rules=self._rules)

    def resolve(self, effect_id: UUID) -> Effect:
        """Look for one effect and record what is found; return it as it stands then.

        An effect that has ended, waits for a human, or is being worked on, is returned as it is. One that was certainly
        not sent fails when its caller has not come again in time.

        Raises:
            NotFound: there is no such effect.
            EffectError: it succeeded, but could not be booked; a break is open.
        """
        seen = self._read(effect_id)
        waiting = seen.state is EffectState.READY and not _overdue(seen)
        if seen.ended or seen.leased or waiting or seen.state is EffectState.MANUAL:
            return seen
        claim = self._take_over(seen)
        if claim is not None:
            self._settle(claim)
        return self._read(effect_id)

    def decide(self, effect_id: UUID, verdict: Applied | Absent, *, reason: str = "") -> Effect:
        """End an open effect by what a human found out; return it as it stands then.

        Applied books its receipt as the operation does (all that was held is spent when that is not known here);
        Absent gives back what was held. The verdict and the `reason` for it are kept as evidence.

        Raises:
            NotFound: there is no such effect. InvalidInput: it has ended. EffectInProgress: a process is at it.
        """
        seen = self._read(effect_id)
        if seen.ended:
            raise InvalidInput(f"the effect {effect_id} has {seen.state} already. Nothing was changed.")
        claim = self._take_over(seen, decision=_decision(verdict, reason))
        if claim is None:
            raise EffectInProgress(f"a process is working on the effect {effect_id}; ask again shortly.")
        if isinstance(verdict, Applied):
            operation = self._operations.get(seen.operation)
            bookings = bookings_of(operation, seen.params) if operation else Bookings()
            self._recorder.succeeded(claim, verdict.receipt, bookings)
        else:
            self._recorder.failed(claim, "decided", f"decided by a human: {verdict.reason or 'it did not happen'}")
        return self._read(effect_id)

    def _read(self, effect_id: UUID) -> Effect:
        with self._store.read_connection() as connection:
            return effect_rows.get(connection, effect_id)

    def _take_over(self, seen: Effect, *, decision: Mapping[str, Any] | None = None) -> Claim | None:
        lease_s = self._rules.lease_s(seen.deadline_ms / 1000)
        with self._store.transaction() as tx:
            fence = effect_rows.take_over(tx, seen, EffectState.IN_DOUBT, lease_s=lease_s)
            if fence is not None and decision is not None:
                effect_rows.add_evidence(tx, seen.id, "decided", fence, decision)
        return None if fence is None else Claim.of(seen, fence)

    def _settle(self, claim: Claim) -> None:
        effect = claim.effect
        operation = self._operations.get(effect.operation)
        if effect.state is EffectState.READY:
            note = effect.note or "it was not sent"
            self._recorder.failed(claim, "not_sent", f"{note}; its caller did not come again in time")
        elif effect.guarantee == Guarantee.BLIND:
            self._recorder.doubtful(claim, "its process ended during the call, and this operation cannot be looked up")
        elif operation is None:
            note = f"the operation {effect.operation!r} is not known here, so it cannot be looked up"
            self._recorder.doubtful(claim, note, looked=True)
        elif effect.guarantee == Guarantee.KEYED and self._rules.remembered(effect.read_at - effect.created_at):
            self._repeat(claim, operation)
        else:
            self._look(claim, operation)

    def _look(self, claim: Claim, operation: Operation) -> None:
        effect = claim.effect
        verdict = look(effect, lambda: self._verify(effect, operation))
        if isinstance(verdict, Applied):
            self._recorder.succeeded(claim, verdict.receipt, bookings_of(operation, effect.params))
        elif isinstance(verdict, Unknown):
            self._recorder.doubtful(claim, verdict.reason, looked=True, settles_in_s=verdict.settles_in_s)
        elif effect.guarantee == Guarantee.NATURAL:
            self._repeat(Claim.of(effect, claim.fence, clean=True), operation)
        else:
            self._recorder.not_sent(claim, f"looked up and not there ({verdict.reason})")

    def _verify(self, effect: Effect, operation: Operation) -> Verdict:
        return operation.verify(
            self._gateway,
            effect.agent_id,
            effect.remote_key,
            effect.params,
            effect.called_at,
            baseline=effect.baseline,
        )

    def _repeat(self, claim: Claim, operation: Operation) -> None:
        """Call again with the same key, where that cannot happen twice; the answer tells."""
        effect = claim.effect
        with self._store.transaction() as tx:
            lease_s = self._rules.lease_s(effect.deadline_ms / 1000)
            if not effect_rows.call_again(tx, effect.id, claim.fence, lease_s=lease_s):
                return
        try:
            receipt = called(
                operation,
                self._gateway,
                effect.agent_id,
                effect.remote_key,
                params=effect.params,
                baseline=effect.baseline,
            )
        except BaseException as error:
            if not isinstance(record_error(self._recorder, claim, error), Exception):
                raise
            return
        self._recorder.succeeded(claim, receipt, bookings_of(operation, effect.params))


class EffectSweeper:
    """Takes up effects that nobody works on: their process ended, or they are due for another look."""

    def __init__(self, store: Store, resolver: EffectResolver) -> None:
        self._store = store
        self._resolver = resolver

    def run_once(self, limit: int = 50) -> list[Effect]:
        """Resolve up to `limit` effects that are due; return them as they stand then.

        What cannot be resolved now is logged and stays due, so that one effect does not keep the others waiting.
        """
        with self._store.read_connection() as connection:
            due = effect_rows.due(connection, limit)
        return [effect for effect_id in due if (effect := self._resolved(effect_id)) is not None]

    def _resolved(self, effect_id: UUID) -> Effect | None:
        try:
            return self._resolver.resolve(effect_id)
        except AgentStateError as error:
            _log.warning("the effect %s could not be resolved now: %s", effect_id, error)
            return None


def _decision(verdict: Applied | Absent, reason: str) -> dict[str, Any]:
    if isinstance(verdict, Applied):
        return {"verdict": "applied", "reason": reason, "receipt": plain(verdict.receipt)}
    return {"verdict": "absent", "reason": reason or verdict.reason}


def _overdue(effect: Effect) -> bool:
    return effect.next_verify_at is not None and effect.next_verify_at <= effect.read_at
