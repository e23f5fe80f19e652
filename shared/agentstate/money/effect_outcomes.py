"""Recording what became of a call: the commit that comes after it.

The outcome, the ledger postings and any follow-up are one transaction under the fence. What happened is never lost:
when the postings cannot be made, or another process has taken over, the fact itself is kept and a break is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from agentstate.errors import EffectError, Fenced, InsufficientFunds, NotFound, StoreUnavailable
from agentstate.money import effect_rows, outcomes
from agentstate.money.breaks import Breaks, Sighting
from agentstate.money.effect_claims import SCOPE, Claim
from agentstate.money.effect_rows import Effect, EffectState
from agentstate.money.ledger import SETTLE, VOID, Ledgers, all_spent, release
from agentstate.money.operations import Guarantee
from agentstate.money.plan import EffectRules, FollowUp, JobQueue, Postings
from agentstate.money.postings import Line, Posting, net
from agentstate.store.store import Store, Transaction

RESOLVE = "effects.resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookings:
    """What to write beside a success: `postings` from the receipt, and a follow-up in the same transaction."""

    postings: Postings | None = None
    follow_up: FollowUp | None = None


class OutcomeRecorder:
    """Records outcomes of effects, of any agent."""

    def __init__(self, store: Store, *, jobs: JobQueue | None, rules: EffectRules) -> None:
        self._store = store
        self._jobs = jobs
        self._rules = rules
        self._breaks = Breaks(store)
        self._ledgers = Ledgers(store)

    def succeeded(self, claim: Claim, receipt: Any, bookings: Bookings) -> Any:
        """Record that the call returned `receipt`; return it as every replay will.

        Raises:
            Fenced: another process took over; the receipt is kept as evidence, or ends the effect if it is still open.
            EffectError: the success is recorded, but its postings could not be made; a break is open.
        """
        envelope = outcomes.success(receipt)
        try:
            self._with_retry(claim, envelope, receipt, bookings)
        except InsufficientFunds as lack:
            self._suspended(claim, envelope, receipt, bookings, lack)
        except (Fenced, StoreUnavailable):
            raise
        except Exception as error:
            self._unposted(claim, envelope, error)
            raise EffectError(
                f"{claim.effect.operation} {claim.effect.key!r} succeeded and that is recorded, but its postings could "
                f"not be made ({error}); its money stays held and a break is open. Correct the postings."
            ) from error
        return envelope["value"]

    def failed(self, claim: Claim, code: str, message: str) -> None:
        """Record that the call certainly had no effect, and give the held money back."""
        envelope = outcomes.failure(code, message)
        with self._store.transaction() as tx:
            if self._ended(tx, claim, EffectState.FAILED, envelope):
                self._post(tx, claim.effect, [], VOID)
            else:
                self._was_mine(tx, claim, envelope)

    def not_sent(self, claim: Claim, note: str) -> None:
        """Record that this call was certainly not sent: its caller may come again while the money stays held."""
        self._put_back(claim, EffectState.READY, note, due_in=self._rules.ready_s)

    def doubtful(self, claim: Claim, note: str, *, looked: bool = False) -> EffectState:
        """Record that nobody knows; look again later, or leave it to a human when looking is over."""
        effect = claim.effect
        looks = effect.verify_attempts + int(looked)
        if effect.guarantee == Guarantee.BLIND or looks >= self._rules.looks:
            self._to_human(claim, note)
            return EffectState.MANUAL
        due_in = _before_settling(effect, self._rules.pause(looks)) if looked else self._rules.first_look_s
        self._put_back(claim, EffectState.IN_DOUBT, note, due_in=due_in, looked=looked)
        return EffectState.IN_DOUBT

    def _with_retry(self, claim: Claim, envelope: dict[str, Any], receipt: Any, bookings: Bookings) -> None:
        try:
            self._finish(claim, envelope, receipt, bookings)
        except StoreUnavailable:
            # The connection broke; the commit may have been taken all the same, which the second try finds out.
            self._finish(claim, envelope, receipt, bookings)

    def _finish(
        self, claim: Claim, envelope: dict[str, Any], receipt: Any, bookings: Bookings, *, suspend: bool = False
    ) -> None:
        happened = bookings.postings(receipt) if bookings.postings else None
        with self._store.transaction() as tx:
            mine = self._ended(tx, claim, EffectState.SUCCEEDED, envelope)
            if mine:
                self._post(tx, claim.effect, happened, SETTLE, suspend=suspend)
                if bookings.follow_up:
                    bookings.follow_up(tx, receipt)
            late = not mine and not self._was_mine(tx, claim, envelope)
        if late:
            self._adopt(claim, envelope, receipt, bookings)

    def _ended(self, tx: Transaction, claim: Claim, state: EffectState, envelope: dict[str, Any]) -> bool:
        return effect_rows.end(tx, claim.effect.id, claim.fence, state=state, outcome=envelope)

    def _was_mine(self, tx: Transaction, claim: Claim, envelope: dict[str, Any]) -> bool:
        """Whether the outcome is there by our own earlier commit; if not, the late one is kept as evidence."""
        now = self._read(tx.connection, claim)
        if now.fence == claim.fence and now.ended:
            return True
        effect_rows.add_evidence(tx, now.id, "late_outcome", claim.fence, envelope)
        return False

    def _adopt(self, claim: Claim, envelope: dict[str, Any], receipt: Any, bookings: Bookings) -> None:
        """A late receipt proves the effect: end it by that when it is open and nobody is at it, else tell."""
        with self._store.transaction() as tx:
            now = self._read(tx.connection, claim)
            fence = None
            if not now.ended and not now.leased:
                fence = effect_rows.take_over(tx, now, EffectState.IN_DOUBT, lease_s=self._rules.lease_margin_s)
        if fence is not None:
            self._finish(replace(claim, effect=now, fence=fence), envelope, receipt, bookings)
            self._breaks.explain(_sighting(now, "effect_manual", {}).fingerprint, "the call's own result came late")
            return
        if now.outcome != envelope:
            self._report(now, "late_outcome", {"late": envelope, "stored": now.outcome, "state": now.state})
        raise Fenced(
            f"{now.operation} {now.key!r} was taken over while its call was running; it is {now.state}. The late "
            "result was kept as evidence and nothing was posted for it."
        )

    def _read(self, connection: Connection, claim: Claim) -> Effect:
        now = effect_rows.by_id(connection, claim.effect.id)
        if now is None:
            raise NotFound(f"the effect {claim.effect.id} is gone from the store.")
        return now

    def _suspended(
        self, claim: Claim, envelope: dict[str, Any], receipt: Any, bookings: Bookings, lack: InsufficientFunds
    ) -> None:
        self._finish(claim, envelope, receipt, bookings, suspend=True)
        self._report(claim.effect, "shortage", {"reason": str(lack), "receipt": envelope["value"]})

    def _unposted(self, claim: Claim, envelope: dict[str, Any], error: Exception) -> None:
        with self._store.transaction() as tx:
            if self._ended(tx, claim, EffectState.SUCCEEDED, envelope) or self._was_mine(tx, claim, envelope):
                evidence = {"reason": f"{type(error).__name__}: {error}", "receipt": envelope["value"]}
                self._report(claim.effect, "unposted", evidence, tx=tx)

    def _post(
        self, tx: Transaction, effect: Effect, happened: Sequence[Line] | None, kind: str, *, suspend: bool = False
    ) -> None:
        ledger = self._ledgers.of(effect.agent_id)
        held = [] if effect.hold_id is None else release(ledger.hold_lines(tx.connection, effect.hold_id))
        lines = net([*held, *(all_spent(held) if happened is None else happened)])
        if lines:
            posting = Posting(
                key=f"{effect.id}:{kind}",
                lines=lines,
                kind=kind,
                scope=SCOPE,
                effect_id=effect.id,
                resolves=effect.hold_id,
                suspend_shortage=suspend,
            )
            ledger.write(posting, tx=tx)

    def _put_back(self, claim: Claim, state: EffectState, note: str, *, due_in: float, looked: bool = False) -> None:
        effect = claim.effect
        with self._store.transaction() as tx:
            kept = effect_rows.put_back(
                tx, effect.id, claim.fence, state=state, note=note, due_in=due_in, looked=looked
            )
            # The sweep looks at it when it is due; the job is for looking sooner than the sweep comes by.
            if kept and state is EffectState.IN_DOUBT and not looked and self._jobs is not None:
                subject = str(effect.id)
                self._jobs.submit(
                    RESOLVE,
                    {"effect_id": subject},
                    agent_id=effect.agent_id,
                    coalesce_key=subject,
                    due_in=due_in,
                    tx=tx,
                )

    def _to_human(self, claim: Claim, note: str) -> None:
        effect, state = claim.effect, EffectState.MANUAL
        with self._store.transaction() as tx:
            if effect_rows.put_back(tx, effect.id, claim.fence, state=state, note=note, due_in=None, looked=True):
                self._report(effect, "effect_manual", {"note": note, "params": effect.params}, tx=tx)

    def _report(self, effect: Effect, kind: str, evidence: dict[str, Any], *, tx: Transaction | None = None) -> None:
        self._breaks.report(_sighting(effect, kind, evidence), tx=tx)


def _sighting(effect: Effect, kind: str, evidence: dict[str, Any]) -> Sighting:
    return Sighting(
        agent_id=effect.agent_id,
        service=effect.service,
        kind=kind,
        subject=str(effect.id),
        effect_id=effect.id,
        evidence=evidence,
    )


def _before_settling(effect: Effect, pause: float) -> float:
    """`pause`, or the moment from which "absent" is conclusive when that comes sooner."""
    remaining = (effect.settles_at - effect.read_at).total_seconds()
    return min(pause, remaining) if remaining > 0 else pause
