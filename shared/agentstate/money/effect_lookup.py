"""Looking for an effect that is in doubt, and acting on what is found.

"It is there" is conclusive at once; "it is not there" only after the settle window, because a request may still be on
its way. Looking itself may fail; then nothing is known, which is not the same as nothing happened.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from agentstate.errors import NotFound
from agentstate.money import effect_rows
from agentstate.money.effect_claims import Claim
from agentstate.money.effect_outcomes import Bookings, OutcomeRecorder
from agentstate.money.effect_rows import Effect, EffectState
from agentstate.money.operations import Absent, Applied, Guarantee, Operation, Operations, Unknown, Verdict
from agentstate.money.plan import EffectRules, Intent, JobQueue
from agentstate.store.store import Store


def intent_of(effect: Effect) -> Intent:
    """What a verification is told."""
    return Intent(
        agent_id=effect.agent_id,
        key=effect.key,
        remote_key=effect.remote_key,
        params=effect.params,
        attempt=effect.attempt,
        called_at=effect.called_at,
        baseline=effect.baseline,
    )


def look(effect: Effect, verify: Callable[[], Verdict]) -> Verdict:
    """What `verify` finds; Unknown when it fails, or finds nothing too early."""
    try:
        verdict = verify()
    except Exception as error:  # noqa: BLE001 whatever went wrong while looking, the effect is as unknown as before
        return Unknown(f"looking failed: {type(error).__name__}: {error}")
    if isinstance(verdict, Absent) and effect.read_at < effect.settles_at:
        return Unknown(f"not there yet; conclusive from {effect.settles_at:%H:%M:%S} UTC on")
    return verdict


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
        """
        seen = self._read(effect_id)
        if seen.ended or seen.leased or seen.state is EffectState.MANUAL:
            return seen
        if seen.state is EffectState.READY and not _overdue(seen):
            return seen
        claim = self._take_over(seen)
        if claim is not None:
            self._settle(claim, ready=seen.state is EffectState.READY)
        return self._read(effect_id)

    def _read(self, effect_id: UUID) -> Effect:
        with self._store.reading() as connection:
            found = effect_rows.by_id(connection, effect_id)
        if found is None:
            raise NotFound(f"there is no effect {effect_id}.")
        return found

    def _take_over(self, seen: Effect) -> Claim | None:
        lease_s = self._rules.lease_s(seen.deadline_ms / 1000)
        with self._store.transaction() as tx:
            fence = effect_rows.take_over(tx, seen, EffectState.IN_DOUBT, lease_s=lease_s)
        return None if fence is None else Claim.of(seen, fence)

    def _settle(self, claim: Claim, *, ready: bool) -> None:
        operation = self._operations.get(claim.effect.operation)
        if ready:
            note = claim.effect.note or "it was not sent"
            self._recorder.failed(claim, "not_sent", f"{note}; its caller did not come again in time.")
        elif claim.effect.guarantee == Guarantee.BLIND:
            self._recorder.doubtful(claim, "its process ended during the call, and this operation cannot be looked up")
        elif operation is None:
            note = f"the operation {claim.effect.operation!r} is not known here, so it cannot be looked up"
            self._recorder.doubtful(claim, note, looked=True)
        else:
            self._look(claim, operation)

    def _look(self, claim: Claim, operation: Operation) -> None:
        effect = claim.effect
        verdict = look(
            effect,
            lambda: operation.verify(
                self._gateway,
                effect.agent_id,
                effect.remote_key,
                effect.params,
                effect.called_at,
                baseline=effect.baseline,
            ),
        )
        if isinstance(verdict, Applied):
            bookings = Bookings(postings=lambda receipt: operation.postings(effect.params, receipt))
            self._recorder.succeeded(claim, verdict.receipt, bookings)
        elif isinstance(verdict, Absent):
            self._recorder.not_sent(claim, f"looked up and not there{_because(verdict.reason)}")
        else:
            self._recorder.doubtful(claim, verdict.reason or "looking did not tell", looked=True)


class EffectSweeper:
    """Takes up effects that nobody works on: their process ended, or they are due for another look."""

    def __init__(self, store: Store, resolver: EffectResolver) -> None:
        self._store = store
        self._resolver = resolver

    def run_once(self, limit: int = 50) -> list[Effect]:
        """Resolve up to `limit` effects that are due; return them as they stand then."""
        with self._store.reading() as connection:
            due = effect_rows.due(connection, limit)
        return [self._resolver.resolve(effect_id) for effect_id in due]


def _overdue(effect: Effect) -> bool:
    return effect.next_verify_at is not None and effect.next_verify_at <= effect.read_at


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
