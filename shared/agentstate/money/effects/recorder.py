"""Recording the outcome of a call: the commit that comes after it.

The outcome, the ledger postings and any follow-up are one transaction under the fence. What happened is never lost:
when the store cannot do it for now, the receipt is kept as evidence and booked later; when the postings are wrong, or
another process has taken over, the fact itself is kept and a break is opened.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agentstate.errors import (
    EffectError,
    EffectFailed,
    EffectInDoubt,
    Fenced,
    InsufficientFunds,
    NotFound,
    ServiceRejected,
    ServiceUnreachable,
    StoreUnavailable,
    Unavailable,
)
from agentstate.jobs.jobs import Jobs
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.claims import Claim, EffectRules
from agentstate.money.effects.operation import Operation
from agentstate.money.effects.outcomes import OutcomeRecord, make_envelope
from agentstate.money.effects.table import QUERIES, Effect, EffectState
from agentstate.money.effects.verdicts import Guarantee
from agentstate.money.ledger.writer import posting_ctes, posting_parameters
from agentstate.money.reconciliation.breaks import EFFECT_MANUAL, Breaks, Sighting
from agentstate.state import codec
from agentstate.store.sqlstate import is_data_error
from agentstate.store.store import Store, Transaction

_log = logging.getLogger(__name__)

RESOLVE = "effects.resolve"
UNPOSTED = "unposted"
"""The kind of break of a success whose postings are wrong."""

RECEIPT = "receipt"
"""The kind of evidence that is a success waiting to be booked."""

_LONGEST_NOTE = 500
_END_BOOKED = f"WITH {posting_ctes(QUERIES['outcome_row'])} SELECT now FROM ending, decided"  # noqa: S608
"""Writes an outcome under the fence and books it."""


class OutcomeRecorder:
    """Records outcomes of effects, of any agent."""

    def __init__(self, store: Store, *, jobs: Jobs | None, rules: EffectRules) -> None:
        self._store = store
        self._jobs = jobs
        self._rules = rules
        self.breaks = Breaks(store)

    def record_success(self, claim: Claim, operation: Operation[Any] | None, receipt: Any) -> Any:
        """Record that the call returned `receipt`; return it as it is stored. Without an operation the hold is spent.

        Raises:
            Fenced: another process took over; the receipt is kept as evidence, or ends the effect if it is still open.
            EffectInDoubt: the store cannot record it for now; it will be booked from its evidence, or looked up.
            EffectError: the success is recorded, but its postings are wrong; a break is open.
        """
        envelope = make_envelope(operation, receipt)
        plain = OutcomeRecord(state=EffectState.SUCCEEDED, envelope=envelope, lines=None)
        try:
            record = plain if operation is None else OutcomeRecord.from_receipt(operation, receipt, envelope)
        except Exception as error:
            raise self._record_unposted(claim, plain, error) from error
        self.record_outcome(claim, record)
        return envelope["value"]

    def record_outcome(self, claim: Claim, record: OutcomeRecord) -> None:
        """Write a success and book it; raises as `record_success`."""
        tries, lack = 0, None
        while True:
            try:
                self._end(claim, record, suspend=lack is not None)
                break
            except InsufficientFunds as error:
                lack = error
            except Fenced:
                raise
            except Unavailable as error:
                # It may have been done all the same, which the next try finds out.
                tries += 1
                if tries >= self._rules.record_tries:
                    raise self._keep_receipt(claim, record, error) from error
                time.sleep(self._rules.record_pause_s * 2 ** (tries - 1))
            except DBAPIError as error:
                if not is_data_error(error):
                    raise self._keep_receipt(claim, record, error) from error
                raise self._record_unposted(claim, record, error) from error
            except Exception as error:
                raise self._record_unposted(claim, record, error) from error
        if lack is not None:
            evidence = {"reason": str(lack), "receipt": record.envelope["value"]}
            self.breaks.report(_make_sighting(claim.effect, "shortage", evidence))

    def record_failure(self, claim: Claim, code: str, message: str) -> None:
        """Record that the call certainly had no effect, and give the held money back."""
        record = OutcomeRecord.from_failure(code, message)
        if self._end_at_once(claim, record):
            return
        with self._store.transaction() as tx:
            self._end_in_steps(tx, claim, record)

    def release_unsent(self, claim: Claim, note: str) -> None:
        """Record that no call was sent, or none arrived: its caller may come again while the money stays held."""
        self._release(claim, EffectState.READY, note, due_in=self._rules.ready_s)

    def release_doubtful(
        self,
        claim: Claim,
        note: str,
        *,
        looked: bool = False,
        settles_in_s: float | None = None,
        is_final: bool = False,
    ) -> EffectState:
        """Record that the outcome is unknown; look again later, or leave it to a human when looking is over.

        `is_final`: looking again never helps, so it is over now.

        Returns:
            `in_doubt` or `manual`.
        """
        effect = claim.effect
        # A caller that asks again and again looks sooner than is useful: only looks that were due are counted, and the
        # next one stays due when it was.
        counted = looked and not claim.early_s
        looks = effect.verify_attempts + int(counted)
        if is_final or effect.guarantee == Guarantee.BLIND or looks >= self._rules.looks:
            self._release_manual(claim, note)
            return EffectState.MANUAL
        remaining_s = (effect.settles_at - effect.read_at).total_seconds()
        soonest = settles_in_s if settles_in_s is not None else remaining_s if remaining_s > 0 else None
        due_in = claim.early_s or self._rules.next_look_s(looks, soonest) if looked else self._rules.first_look_s
        self._release(claim, EffectState.IN_DOUBT, note, due_in=due_in, counted=counted, submit=not looked)
        return EffectState.IN_DOUBT

    def record_error(self, claim: Claim, error: BaseException) -> BaseException:
        """Record an error of the call by its meaning for the effect; return the error for the caller.

        Only two errors are certain: not sent, and refused before any effect; and only while no earlier attempt can have
        arrived. Everything else, a time-out, a broken answer, a cancelled task, leaves the effect in doubt.
        """
        try:
            meaning = self._record_meaning(claim, error)
        except StoreUnavailable:
            meaning = EffectInDoubt(
                f"{_describe(claim)} ended with {type(error).__name__} and the store does not answer, so its outcome "
                "is not recorded; it will be looked up. Ask again with the same key."
            )
        return meaning if isinstance(error, Exception) else error

    def find_receipt(self, effect: Effect) -> OutcomeRecord | None:
        """Return the success of an open effect that was kept as evidence when it could not be booked."""
        with self._store.read_connection() as connection:
            kept = [row for row in effect_rows.list_evidence(connection, effect.id) if row["kind"] == RECEIPT]
        return OutcomeRecord.from_evidence(kept[0]["detail"]) if kept else None

    def _record_meaning(self, claim: Claim, error: BaseException) -> Exception:
        note = codec.storable_text(f"{type(error).__name__}: {error}", _LONGEST_NOTE)
        if claim.clean and isinstance(error, ServiceUnreachable):
            self.release_unsent(claim, note)
            return error
        if claim.clean and isinstance(error, ServiceRejected):
            if error.retry_after is not None:
                self.release_unsent(claim, codec.storable_text(f"refused for now: {error}", _LONGEST_NOTE))
                return error
            self.record_failure(claim, error.code or "rejected", str(error))
            return EffectFailed(f"{_describe(claim)} was refused before any effect: {error}")
        state = self.release_doubtful(claim, note, looked=not claim.clean)
        return EffectInDoubt(f"{_describe(claim)} may have happened ({note}); it is {state}. {advise(state)}")

    def _end(self, claim: Claim, record: OutcomeRecord, *, suspend: bool = False) -> None:
        if not suspend and not record.follow_up and self._end_at_once(claim, record):
            return
        with self._store.transaction() as tx:
            mine = self._end_in_steps(tx, claim, record, suspend=suspend)
        if not mine:
            self._adopt_late_receipt(claim, record)

    def _end_at_once(self, claim: Claim, record: OutcomeRecord) -> bool:
        """Write the outcome and book it in one statement; False when that could not be done, and nothing was."""
        effect = claim.effect
        known = claim.held is not None and not record.credits and effect.state is not EffectState.MANUAL
        if not (known and self._store.database.has_single_statement_commit):
            return False
        settlement = record.make_settlement(effect, claim.held or [])
        values = {
            "id": effect.id,
            "fence": str(claim.fence),
            "state": str(record.state),
            "outcome": codec.dumps(record.envelope),
        }
        if not settlement.lines:
            return self._store.commit_one(QUERIES["end_effect"], values) is not None
        return self._store.commit_one(_END_BOOKED, values | posting_parameters(effect.agent_id, settlement)) is not None

    def _end_in_steps(self, tx: Transaction, claim: Claim, record: OutcomeRecord, *, suspend: bool = False) -> bool:
        """Write the outcome and book it in `tx`; False when another process has taken over: it is kept as evidence."""
        mine = record.book(
            tx,
            claim.effect,
            write_outcome=lambda: self._write_outcome(tx, claim, record),
            held=claim.held,
            suspend=suspend,
        )
        if mine and record.follow_up:
            record.follow_up(tx)
        return mine or self._is_recorded(tx, claim, record)

    def _write_outcome(self, tx: Transaction, claim: Claim, record: OutcomeRecord) -> bool:
        ended = effect_rows.end_effect(tx, claim.effect.id, claim.fence, state=record.state, outcome=record.envelope)
        if ended and claim.effect.state is EffectState.MANUAL:
            manual = _make_sighting(claim.effect, EFFECT_MANUAL, {})
            self.breaks.explain(manual.fingerprint, f"the effect has {record.state}", tx=tx)
        return ended

    def _is_recorded(self, tx: Transaction, claim: Claim, record: OutcomeRecord) -> bool:
        """Whether the outcome is there by our own earlier commit; if not, the late one is kept as evidence."""
        now = self._load(tx.connection, claim)
        if now.fence == claim.fence and now.is_ended:
            return True
        effect_rows.add_evidence(tx, now.id, "late_outcome", claim.fence, record.envelope)
        return False

    def _adopt_late_receipt(self, claim: Claim, record: OutcomeRecord) -> None:
        """Settle a still open effect with a late receipt; otherwise raise Fenced, and report a difference."""
        with self._store.transaction() as tx:
            now = self._load(tx.connection, claim)
            fence = None
            if not now.is_ended and not now.is_leased:
                fence = effect_rows.take_over(tx, now, EffectState.IN_DOUBT, lease_s=self._rules.lease_margin_s)
        if fence is not None:
            self._end(replace(claim, effect=now, fence=fence), record)
            return
        if now.outcome != record.envelope:
            evidence = {"late": record.envelope, "stored": now.outcome, "state": now.state}
            self.breaks.report(_make_sighting(now, "late_outcome", evidence))
        raise Fenced(
            f"{now.operation} {now.key!r} was taken over while its call was running; it is {now.state}. The late "
            "result was kept as evidence and nothing was posted for it."
        )

    def _load(self, connection: Connection, claim: Claim) -> Effect:
        now = effect_rows.find_by_id(connection, claim.effect.id)
        if now is None:
            raise NotFound(f"the effect {claim.effect.id} is gone from the store.")
        return now

    def _record_unposted(self, claim: Claim, record: OutcomeRecord, error: Exception) -> EffectError:
        """End the effect without postings, which are proven wrong, and open a break; return the caller's error."""
        evidence = {"reason": f"{type(error).__name__}: {error}", "receipt": record.envelope["value"]}
        with self._store.transaction() as tx:
            if self._write_outcome(tx, claim, record) or self._is_recorded(tx, claim, record):
                self.breaks.report(_make_sighting(claim.effect, UNPOSTED, evidence), tx=tx)
        return EffectError(
            f"{_describe(claim)} succeeded and that is recorded, but its postings could not be made ({error}); its "
            f"money stays held and a break is open. Correct the postings, then `agentstate effects book "
            f"{claim.effect.id}`."
        )

    def _keep_receipt(self, claim: Claim, record: OutcomeRecord, error: Exception) -> EffectInDoubt:
        """Keep the receipt beside the open effect, so that it is booked later; return the caller's error."""
        reason = str(error).splitlines()[0][:_LONGEST_NOTE]
        try:
            with self._store.transaction() as tx:
                effect_rows.add_evidence(tx, claim.effect.id, RECEIPT, claim.fence, record.to_evidence())
                effect_rows.release_effect(
                    tx,
                    claim.effect.id,
                    claim.fence,
                    state=EffectState.IN_DOUBT,
                    note=codec.storable_text(f"it happened, and could not be booked for now: {reason}", _LONGEST_NOTE),
                    due_in=self._rules.first_look_s,
                )
        except (StoreUnavailable, DBAPIError) as second:
            _log.warning("could not keep the receipt of effect %s, it will be looked up: %s", claim.effect.id, second)
            return EffectInDoubt(
                f"{_describe(claim)} was called, but the store does not answer, so its outcome is not recorded; it "
                "will be looked up. Ask again with the same key."
            )
        return EffectInDoubt(
            f"{_describe(claim)} happened, but could not be booked for now ({reason}); its receipt is kept and will be "
            "booked. Ask again with the same key."
        )

    def _release(
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
        effect = claim.effect
        with self._store.transaction() as tx:
            kept = effect_rows.release_effect(
                tx, effect.id, claim.fence, state=state, note=note, due_in=due_in, looked=counted
            )
            # The sweep looks at it when it is due; the job is for looking sooner than the sweep comes by.
            if kept and submit and self._jobs is not None:
                subject = str(effect.id)
                payload = {"effect_id": subject}
                self._jobs.submit(
                    RESOLVE, payload, agent_id=effect.agent_id, coalesce_key=subject, due_in=due_in, tx=tx
                )

    def _release_manual(self, claim: Claim, note: str) -> None:
        effect, state = claim.effect, EffectState.MANUAL
        with self._store.transaction() as tx:
            if effect_rows.release_effect(tx, effect.id, claim.fence, state=state, note=note, due_in=None, looked=True):
                evidence = {"note": note, "params": effect.params}
                self.breaks.report(_make_sighting(effect, EFFECT_MANUAL, evidence), tx=tx)


def advise(state: EffectState) -> str:
    """Return the advice for the caller of an effect that is in doubt or left to a human."""
    if state is EffectState.MANUAL:
        return (
            "It is never called again, and asking again tells no more: look at the service, then say what happened "
            "with `agentstate effects resolve`. A new key would be a second call."
        )
    return "Ask again with the same key; a new key would be a second call."


def unposted_fingerprint(effect: Effect) -> str:
    """Return the fingerprint of the break that an unposted success opens."""
    return _make_sighting(effect, UNPOSTED, {}).fingerprint


def _make_sighting(effect: Effect, kind: str, evidence: dict[str, Any]) -> Sighting:
    return Sighting(
        agent_id=effect.agent_id,
        service=effect.service,
        kind=kind,
        subject=str(effect.id),
        effect_id=effect.id,
        evidence=evidence,
    )


def _describe(claim: Claim) -> str:
    return f"{claim.effect.operation} {claim.effect.key!r}"
