"""Settling effects that are in doubt: by their kept receipt, by looking, by calling again, or by a person's finding.

"It is there" is conclusive at once; "it is not there" only after the settle window, because a request may still be on
its way. Looking itself may fail; then nothing is known, which is not the same as nothing happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from agentstate.errors import AgentStateError, EffectInProgress, InsufficientFunds, InvalidInput
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.claims import Claim, EffectRules
from agentstate.money.effects.operation import AgentService, Operation, OperationRegistry
from agentstate.money.effects.outcomes import OutcomeRecord
from agentstate.money.effects.recorder import OutcomeRecorder, unposted_fingerprint
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Line
from agentstate.state import codec
from agentstate.store.store import Store

_log = logging.getLogger(__name__)

Outside = Callable[[], Any]
"""Opens the gateway to the services, when an operation needs it."""

OnChange = Callable[[Sequence[AgentService]], None]
"""Is given the agents and services with cached states that an attempt may have changed."""


class EffectResolver:
    """Settles effects of any agent, by the name of their operation."""

    def __init__(
        self,
        store: Store,
        registry: OperationRegistry,
        recorder: OutcomeRecorder,
        *,
        outside: Outside,
        on_change: OnChange,
        rules: EffectRules,
    ) -> None:
        self._store = store
        self._registry = registry
        self._recorder = recorder
        self._outside = outside
        self._on_change = on_change
        self._rules = rules

    def resolve(self, effect_id: UUID) -> Effect:
        """Look for one effect and record the finding; return it as it stands then.

        An effect that has ended, waits for a human, or is being worked on, is returned as it is. One that was certainly
        not sent fails when its caller has not come again in time.

        Raises:
            NotFound: there is no such effect.
            EffectError: it succeeded, but its postings are wrong; a break is open.
        """
        self._store.refuse_ambient("resolve")
        seen = self._load(effect_id)
        overdue = seen.next_verify_at is not None and seen.next_verify_at <= seen.read_at
        waiting = seen.state is EffectState.READY and not overdue
        if seen.is_ended or seen.is_leased or waiting or seen.state is EffectState.MANUAL:
            return seen
        claim = self._take_over(seen)
        if claim is not None:
            operation = self._find_operation(seen)
            try:
                self._settle(claim, operation)
            finally:
                own = [(seen.agent_id, seen.service)] if seen.operation in self._registry.names() else []
                self._on_change(own if operation is None else operation.invalidates(seen.agent_id))
        return self._load(effect_id)

    def decide(self, effect_id: UUID, *, happened: bool, receipt: Any = None, who: str, reason: str = "") -> Effect:
        """End an open effect by a person's finding; return it as it stands then.

        What happened is booked by its receipt as the operation does (all that was held is spent where the operation is
        not known here); what did not gives back its hold. The decision is kept as evidence.

        Raises:
            NotFound: there is no such effect. EffectInProgress: a process is at it.
            InvalidInput: it has ended, nobody is named, or the receipt is none of this operation.
        """
        self._store.refuse_ambient("decide")
        if not who.strip():
            raise InvalidInput("say who decides; it is kept as evidence. Nothing was changed.")
        seen = self._load(effect_id)
        if seen.is_ended:
            raise InvalidInput(f"the effect {effect_id} has {seen.state} already. Nothing was changed.")
        operation = self._find_operation(seen)
        plain = codec.to_plain(receipt)
        loaded = operation.load_receipt(plain) if happened and operation is not None else plain
        decision = {"verdict": "applied" if happened else "absent", "who": who.strip(), "reason": reason}
        claim = self._take_over(seen, decision=decision | ({"receipt": plain} if happened else {}))
        if claim is None:
            raise EffectInProgress(f"a process is working on the effect {effect_id}; ask again shortly.")
        if happened:
            self._recorder.record_success(claim, operation, loaded)
        else:
            self._recorder.record_failure(claim, "decided", f"decided by a human: {reason or 'it did not happen'}")
        return self._load(effect_id)

    def book(self, effect_id: UUID, *, lines: Sequence[Line] | None = None) -> Effect:
        """Book a success that had wrong postings, and end its break; does nothing when it is booked already.

        Args:
            effect_id: the effect.
            lines: what it moved, as if nothing had been held; by its operation and receipt when left out.

        Raises:
            NotFound: there is no such effect.
            InvalidInput: it has not succeeded, or its operation is not known here and no lines are given.
            Unbalanced, AmountInvalid, ...: its postings are still wrong; nothing was changed.
        """
        self._store.refuse_ambient("book")
        seen = self._load(effect_id)
        if seen.state is not EffectState.SUCCEEDED or seen.outcome is None:
            raise InvalidInput(f"the effect {effect_id} is {seen.state}; only one that has succeeded can be booked.")
        record = OutcomeRecord(state=seen.state, envelope=dict(seen.outcome), lines=lines)
        if lines is None:
            operation = self._find_operation(seen)
            if operation is None or seen.expired_at is not None:
                raise InvalidInput(
                    f"what {seen.operation} {seen.key!r} moved cannot be told here, as its operation or its receipt is "
                    "not known; give the lines. Nothing was changed."
                )
            receipt = operation.load_receipt(seen.outcome["value"])
            record = OutcomeRecord.from_receipt(operation, receipt, record.envelope)
        try:
            self._post_settlement(seen, record)
        except InsufficientFunds:
            self._post_settlement(seen, record, suspend=True)
        return seen

    def sweep(self, limit: int = 50, *, resolve: Callable[[UUID], Effect] | None = None) -> list[Effect]:
        """Resolve up to `limit` effects that are due and not leased; return them as they stand then.

        What cannot be resolved now is logged and stays due, so that one effect does not keep the others waiting.
        """
        with self._store.read_connection() as connection:
            due = effect_rows.list_due(connection, limit)
        resolved = []
        for effect_id in due:
            try:
                resolved.append((resolve or self.resolve)(effect_id))
            except AgentStateError as error:
                _log.warning("could not resolve effect %s now, it stays due: %s", effect_id, error)
        return resolved

    def _load(self, effect_id: UUID) -> Effect:
        with self._store.read_connection() as connection:
            return effect_rows.load_effect(connection, effect_id)

    def _find_operation(self, effect: Effect) -> Operation[Any] | None:
        """Return the operation of a stored effect; None when this process does not know it."""
        if self._registry.find(effect.operation) is None:
            return None
        return self._registry.parse(effect.operation, effect.params)

    def _take_over(self, seen: Effect, *, decision: Mapping[str, Any] | None = None) -> Claim | None:
        lease_s = self._rules.lease_s(seen.deadline_ms / 1000)
        with self._store.transaction() as tx:
            fence = effect_rows.take_over(tx, seen, EffectState.IN_DOUBT, lease_s=lease_s)
            if fence is not None and decision is not None:
                effect_rows.add_evidence(tx, seen.id, "decided", fence, decision)
        return None if fence is None else Claim.begin(seen, fence)

    def _settle(self, claim: Claim, operation: Operation[Any] | None) -> None:
        effect, recorder = claim.effect, self._recorder
        if effect.state is EffectState.READY:
            note = effect.note or "it was not sent"
            recorder.record_failure(claim, "not_sent", f"{note}; its caller did not come again in time")
            return
        kept = recorder.find_receipt(effect)
        if kept is not None:
            recorder.record_outcome(claim, kept)
        elif effect.guarantee == Guarantee.BLIND:
            recorder.release_doubtful(
                claim, "its process ended during the call, and this operation cannot be looked up"
            )
        elif operation is None:
            note = f"the operation {effect.operation!r} is not known here, so it cannot be looked up"
            recorder.release_doubtful(claim, note, looked=True)
        elif effect.guarantee == Guarantee.KEYED and self._rules.remembers_key(effect.read_at - effect.created_at):
            self._repeat(claim, operation)
        else:
            self._look_and_settle(claim, operation)

    def _look_and_settle(self, claim: Claim, operation: Operation[Any]) -> None:
        effect = claim.effect
        verdict = look_up(effect, operation, self._outside)
        if isinstance(verdict, Applied):
            self._recorder.record_success(claim, operation, verdict.receipt)
        elif isinstance(verdict, Unknown):
            self._recorder.release_doubtful(
                claim, verdict.reason, looked=True, settles_in_s=verdict.settles_in_s, is_final=verdict.is_final
            )
        elif effect.guarantee == Guarantee.NATURAL:
            self._repeat(Claim.begin(effect, claim.fence, clean=True), operation)
        else:
            self._recorder.release_unsent(claim, f"looked up and not there ({verdict.reason})")

    def _repeat(self, claim: Claim, operation: Operation[Any]) -> None:
        """Call again with the same key, where that cannot happen twice; the answer tells."""
        effect = claim.effect
        with self._store.transaction() as tx:
            lease_s = self._rules.lease_s(effect.deadline_ms / 1000)
            if not effect_rows.begin_attempt(tx, effect.id, claim.fence, lease_s=lease_s):
                return
        try:
            receipt = operation.send(self._outside() if operation.needs_outside else None, effect.to_intent())
        except BaseException as error:
            if not isinstance(self._recorder.record_error(claim, error), Exception):
                raise
            return
        self._recorder.record_success(claim, operation, receipt)

    def _post_settlement(self, effect: Effect, record: OutcomeRecord, *, suspend: bool = False) -> None:
        """Post a success and end its break, in one transaction; an existing posting is left as it is."""
        with self._store.transaction() as tx:
            record.book(tx, effect, write_outcome=lambda: True, suspend=suspend)
            self._recorder.breaks.explain(unposted_fingerprint(effect), "its postings were corrected", tx=tx)


def look_up(effect: Effect, operation: Operation[Any], outside: Outside) -> Verdict:
    """Ask the operation's `verify`; Unknown when that fails, or reports absence too early."""
    try:
        verdict = operation.verify(outside() if operation.needs_outside else None, effect.to_intent())
    except Exception as error:  # noqa: BLE001 whatever went wrong while looking, the effect is as unknown as before
        return Unknown(codec.storable_text(f"looking failed: {type(error).__name__}: {error}", 500))
    if isinstance(verdict, Absent) and effect.read_at < effect.settles_at:
        return Unknown(f"not there yet; conclusive from {effect.settles_at:%H:%M:%S} UTC on")
    return verdict
