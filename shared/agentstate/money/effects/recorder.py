"""Recording what became of a call: the commit that comes after it.

The outcome, the ledger postings and any follow-up are one transaction under the fence. What happened is never lost:
when the postings cannot be made, or another process has taken over, the fact itself is kept and a break is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from agentstate.errors import EffectError, Fenced, InsufficientFunds, NotFound, StoreUnavailable
from agentstate.money.effects import outcomes
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.bookings import NOTHING, Bookings, Bookkeeper, Happened
from agentstate.money.effects.claims import Claim
from agentstate.money.effects.plan import EffectRules, JobQueue
from agentstate.money.effects.statements import Ending, end
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.effects.verdicts import Guarantee
from agentstate.money.ledger.ledger import SETTLE, VOID
from agentstate.money.reconciliation.breaks import EFFECT_MANUAL, Breaks, Sighting
from agentstate.store.store import Store, Transaction

RESOLVE = "effects.resolve"


@dataclass(frozen=True, slots=True)
class Success:
    """A receipt on its way into the store."""

    receipt: Any
    envelope: dict[str, Any]
    bookings: Bookings


class OutcomeRecorder:
    """Records outcomes of effects, of any agent."""

    def __init__(self, store: Store, *, jobs: JobQueue | None, rules: EffectRules) -> None:
        self._store = store
        self._jobs = jobs
        self._rules = rules
        self._breaks = Breaks(store)
        self._books = Bookkeeper(store)

    def succeeded(self, claim: Claim, receipt: Any, bookings: Bookings) -> Any:
        """Record that the call returned `receipt`; return it as every replay will.

        Raises:
            Fenced: another process took over; the receipt is kept as evidence, or ends the effect if it is still open.
            EffectError: the success is recorded, but its postings could not be made; a break is open.
        """
        success = Success(receipt, outcomes.success(receipt), bookings)
        try:
            self._with_retry(claim, success)
        except InsufficientFunds as lack:
            self._finish(claim, success, suspend=True)
            evidence = {"reason": str(lack), "receipt": success.envelope["value"]}
            self._breaks.report(_sighting(claim.effect, "shortage", evidence))
        except (Fenced, StoreUnavailable):
            raise
        except Exception as error:
            self._unposted(claim, success, error)
            raise EffectError(
                f"{claim.effect.operation} {claim.effect.key!r} succeeded and that is recorded, but its postings could "
                f"not be made ({error}); its money stays held and a break is open. Correct the postings."
            ) from error
        return success.envelope["value"]

    def failed(self, claim: Claim, code: str, message: str) -> None:
        """Record that the call certainly had no effect, and give the held money back."""
        envelope = outcomes.failure(code, message)
        if self._at_once(claim, EffectState.FAILED, envelope, NOTHING, VOID):
            return
        with self._store.transaction() as tx:
            if not self._books.book(
                tx,
                claim.effect,
                NOTHING,
                VOID,
                decide=lambda: self._ended(tx, claim, EffectState.FAILED, envelope),
                held=claim.held,
            ):
                self._was_mine(tx, claim, envelope)

    def not_sent(self, claim: Claim, note: str) -> None:
        """Record that no call was sent, or none arrived: its caller may come again while the money stays held."""
        self._put_back(claim, EffectState.READY, note, due_in=self._rules.ready_s)

    def doubtful(
        self, claim: Claim, note: str, *, looked: bool = False, settles_in_s: float | None = None
    ) -> EffectState:
        """Record that nobody knows; look again later, or leave it to a human when looking is over.

        Returns:
            `in_doubt` or `manual`.
        """
        effect = claim.effect
        # A caller that asks again and again looks sooner than is useful: only looks that were due are counted, and the
        # next one stays due when it was.
        counted = looked and not claim.early_s
        looks = effect.verify_attempts + int(counted)
        if effect.guarantee == Guarantee.BLIND or looks >= self._rules.looks:
            self._to_human(claim, note)
            return EffectState.MANUAL
        soonest = settles_in_s if settles_in_s is not None else _until_settled(effect)
        due_in = claim.early_s or self._rules.next_look(looks, soonest) if looked else self._rules.first_look_s
        self._put_back(claim, EffectState.IN_DOUBT, note, due_in=due_in, counted=counted, submit=not looked)
        return EffectState.IN_DOUBT

    def _with_retry(self, claim: Claim, success: Success) -> None:
        try:
            self._finish(claim, success)
        except StoreUnavailable:
            # The connection broke; the commit may have been taken all the same, which the second try finds out.
            self._finish(claim, success)

    def _finish(self, claim: Claim, success: Success, *, suspend: bool = False) -> None:
        happened, follow_up = Happened.by(success.receipt, success.bookings), success.bookings.follow_up
        state, envelope = EffectState.SUCCEEDED, success.envelope
        if not suspend and not follow_up and self._at_once(claim, state, envelope, happened, SETTLE):
            return
        with self._store.transaction() as tx:
            mine = self._books.book(
                tx,
                claim.effect,
                happened,
                SETTLE,
                decide=lambda: self._ended(tx, claim, state, envelope),
                held=claim.held,
                suspend=suspend,
            )
            if mine and follow_up:
                follow_up(tx, success.receipt)
            late = not mine and not self._was_mine(tx, claim, envelope)
        if late:
            self._adopt(claim, success)

    def _at_once(
        self, claim: Claim, state: EffectState, envelope: dict[str, Any], happened: Happened, kind: str
    ) -> bool:
        """Write the outcome and book it in one statement; False when that could not be done, and nothing was."""
        effect = claim.effect
        known = claim.held is not None and not happened.credits and effect.state is not EffectState.MANUAL
        if self._store.dialect != "postgresql" or not known:
            return False
        booking = self._books.settlement(effect, claim.held or [], happened, kind)
        ending = Ending(effect_id=effect.id, fence=claim.fence, state=state, outcome=envelope)
        return end(self._store, effect.agent_id, ending, booking if booking.lines else None)

    def _ended(self, tx: Transaction, claim: Claim, state: EffectState, envelope: dict[str, Any]) -> bool:
        ended = effect_rows.end(tx, claim.effect.id, claim.fence, state=state, outcome=envelope)
        if ended and claim.effect.state is EffectState.MANUAL:
            manual = _sighting(claim.effect, EFFECT_MANUAL, {})
            self._breaks.explain(manual.fingerprint, f"the effect has {state}", tx=tx)
        return ended

    def _was_mine(self, tx: Transaction, claim: Claim, envelope: dict[str, Any]) -> bool:
        """Whether the outcome is there by our own earlier commit; if not, the late one is kept as evidence."""
        now = self._read(tx.connection, claim)
        if now.fence == claim.fence and now.ended:
            return True
        effect_rows.add_evidence(tx, now.id, "late_outcome", claim.fence, envelope)
        return False

    def _adopt(self, claim: Claim, success: Success) -> None:
        """A late receipt proves the effect: end it by that when it is open and nobody is at it, else tell."""
        with self._store.transaction() as tx:
            now = self._read(tx.connection, claim)
            fence = None
            if not now.ended and not now.leased:
                fence = effect_rows.take_over(tx, now, EffectState.IN_DOUBT, lease_s=self._rules.lease_margin_s)
        if fence is not None:
            self._finish(replace(claim, effect=now, fence=fence), success)
            return
        if now.outcome != success.envelope:
            evidence = {"late": success.envelope, "stored": now.outcome, "state": now.state}
            self._breaks.report(_sighting(now, "late_outcome", evidence))
        raise Fenced(
            f"{now.operation} {now.key!r} was taken over while its call was running; it is {now.state}. The late "
            "result was kept as evidence and nothing was posted for it."
        )

    def _read(self, connection: Connection, claim: Claim) -> Effect:
        now = effect_rows.by_id(connection, claim.effect.id)
        if now is None:
            raise NotFound(f"the effect {claim.effect.id} is gone from the store.")
        return now

    def _unposted(self, claim: Claim, success: Success, error: Exception) -> None:
        envelope = success.envelope
        evidence = {"reason": f"{type(error).__name__}: {error}", "receipt": envelope["value"]}
        with self._store.transaction() as tx:
            if self._ended(tx, claim, EffectState.SUCCEEDED, envelope) or self._was_mine(tx, claim, envelope):
                self._breaks.report(_sighting(claim.effect, "unposted", evidence), tx=tx)

    def _put_back(
        self,
        claim: Claim,
        state: EffectState,
        note: str,
        *,
        due_in: float,
        counted: bool = False,
        submit: bool = False,
    ) -> None:
        """Give the effect up for now. `counted`: that was a look; `submit`: with a job that looks when it is due."""
        with self._store.transaction() as tx:
            kept = effect_rows.put_back(
                tx, claim.effect.id, claim.fence, state=state, note=note, due_in=due_in, looked=counted
            )
            # The sweep looks at it when it is due; the job is for looking sooner than the sweep comes by.
            if kept and submit:
                self._submit(tx, claim.effect, due_in)

    def _submit(self, tx: Transaction, effect: Effect, due_in: float) -> None:
        if self._jobs is not None:
            subject = str(effect.id)
            payload = {"effect_id": subject}
            self._jobs.submit(RESOLVE, payload, agent_id=effect.agent_id, coalesce_key=subject, due_in=due_in, tx=tx)

    def _to_human(self, claim: Claim, note: str) -> None:
        effect, state = claim.effect, EffectState.MANUAL
        with self._store.transaction() as tx:
            if effect_rows.put_back(tx, effect.id, claim.fence, state=state, note=note, due_in=None, looked=True):
                evidence = {"note": note, "params": effect.params}
                self._breaks.report(_sighting(effect, EFFECT_MANUAL, evidence), tx=tx)


def _sighting(effect: Effect, kind: str, evidence: dict[str, Any]) -> Sighting:
    return Sighting(
        agent_id=effect.agent_id,
        service=effect.service,
        kind=kind,
        subject=str(effect.id),
        effect_id=effect.id,
        evidence=evidence,
    )


def _until_settled(effect: Effect) -> float | None:
    """Seconds until "absent" is conclusive, None when it is already."""
    remaining = (effect.settles_at - effect.read_at).total_seconds()
    return remaining if remaining > 0 else None
