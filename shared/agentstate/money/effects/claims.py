"""Claiming an effect: the commit that comes before the call.

The intent, its lease and the money held for it become durable together. Whoever finds the intent of another process
either replays its outcome, waits, or takes over when the lease has run out, and then knows that it is in doubt.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from agentstate.errors import EffectError, EffectExpired, EffectFailed, EffectInDoubt, EffectInProgress, KeyReused
from agentstate.ids import derive_id, new_id
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.bookings import SCOPE
from agentstate.money.effects.fingerprint import remote_key
from agentstate.money.effects.plan import EffectRules, Plan
from agentstate.money.effects.statements import intend
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.guards.gate import authorize_request
from agentstate.money.guards.rules import GuardRequest
from agentstate.money.ledger.accounts import lock_accounts_of_agents
from agentstate.money.ledger.ledger import HOLD, TransactionLedger
from agentstate.money.ledger.postings import Line, Posting
from agentstate.store.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on an effect, until the lease ends or the fence is raised.

    `clean` tells that no call of this effect can have reached the remote yet; `held` are the lines of its hold, None
    where they have to be read; `early_s` is by how many seconds it was taken up before its next look was due.
    """

    effect: Effect
    fence: int
    clean: bool
    began: float
    held: Sequence[Line] | None = None
    early_s: float = 0.0

    @classmethod
    def of(cls, effect: Effect, fence: int, *, clean: bool = False) -> Claim:
        """A claim that begins now."""
        return cls(effect=effect, fence=fence, clean=clean, began=time.monotonic())

    def again(self, *, clean: bool) -> Claim:
        """The same claim, for another attempt that begins now."""
        return replace(self, clean=clean, began=time.monotonic())

    @property
    def elapsed_s(self) -> float:
        """Seconds of this process's clock since before the claim; never less than the lease has run."""
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Replay:
    """The stored result of an effect that succeeded before."""

    value: Any


class Claims:
    """Claims effects of one agent."""

    def __init__(
        self, store: Store, agent_id: str, ledger: TransactionLedger, *, secret: bytes | None, rules: EffectRules
    ) -> None:
        self._store = store
        self._agent_id = agent_id
        self._ledger = ledger
        self._secret = secret
        self._rules = rules

    def claim(self, plan: Plan) -> Claim | Replay:
        """Write the intent of `plan`, or take up what there is under its key.

        Raises:
            KeyReused: the key stands for another call. EffectFailed: it failed for certain before.
            EffectExpired: it succeeded so long ago that its result is gone.
            EffectInProgress: another process is at it. EffectInDoubt: a human has to find out.
            InsufficientFunds: the money to hold is not there; nothing was written.
            LimitExceeded, Frozen: a guard of the agent forbids it; nothing was written.
        """
        began = time.monotonic()
        row = self._row(plan)
        hold = _hold(row, plan)
        written = self._at_once(plan, row, hold)
        if written is None:
            known = self._known(plan)
            if isinstance(known, Replay):
                return known
            written = None if known else self._in_steps(plan, row, hold)
        if written is not None:
            return Claim(effect=written, fence=1, clean=True, began=began, held=plan.held)
        # In a transaction of its own: what the first one waited for is committed by now.
        with self._store.transaction() as tx:
            return self._take_up(tx, plan, self._read(tx, plan), began)

    def _at_once(self, plan: Plan, row: dict[str, Any], hold: Posting | None) -> Effect | None:
        """The intent and its hold in one statement; None when that could not be done, and nothing was."""
        if self._store.dialect != "postgresql":
            return None
        lease_s = self._rules.lease_s(plan.deadline_s)
        now = intend(self._store, row, hold, lease_s=lease_s)
        return None if now is None else effect_rows.begun(row, now, lease_s=lease_s)

    def _known(self, plan: Plan) -> Effect | Replay | None:
        """What there is under the key: an outcome, an effect that is open, or nothing."""
        with self._store.read_connection(autocommit=True) as connection:
            seen = effect_rows.by_key(connection, self._agent_id, plan.key)
        return None if seen is None else self._ended(plan, seen) or seen

    def _in_steps(self, plan: Plan, row: dict[str, Any], hold: Posting | None) -> Effect | None:
        """The intent and its hold in a transaction that says why when it is refused; None when the key was taken."""
        with self._store.transaction() as tx:
            if hold is not None:
                lock_accounts_of_agents(tx, [(self._agent_id, line.account) for line in hold.lines])
            written = effect_rows.insert(tx, row, lease_s=self._rules.lease_s(plan.deadline_s))
            if written is None:
                return None
            # After the row, before the money: what is let in counts for whoever asks next, and is undone when refused.
            authorize_request(tx, _asked(written, plan))
            if hold is not None:
                self._ledger.write(hold, tx=tx)
        return written

    def _row(self, plan: Plan) -> dict[str, Any]:
        effect_id = new_id()
        hold_id = derive_id("hold", str(effect_id)) if plan.hold else None
        return {
            "id": effect_id,
            "agent_id": self._agent_id,
            "key": plan.key,
            "service": plan.service,
            "operation": plan.operation,
            "params": plan.params,
            "params_sha": plan.sha,
            "remote_key": remote_key(self._secret, self._agent_id, plan.key),
            "guarantee": plan.guarantee,
            "deadline_ms": round(plan.deadline_s * 1000),
            "settle_ms": round(plan.settle_s * 1000),
            "baseline": plan.baseline,
            "serial_key": plan.serial_key,
            "hold_id": hold_id,
        }

    def _read(self, tx: Transaction, plan: Plan) -> Effect:
        found = effect_rows.by_key(tx.connection, self._agent_id, plan.key)
        if found is None:
            raise EffectInProgress(self._in_the_way(tx, plan))
        return found

    def _in_the_way(self, tx: Transaction, plan: Plan) -> str:
        blocking = plan.serial_key and effect_rows.blocking(tx.connection, self._agent_id, plan.serial_key)
        if not blocking:
            return f"the effect {plan.key!r} of {self._agent_id} met another one that has just ended; try again."
        return (
            f"{blocking.operation} {blocking.key!r} of {self._agent_id} is {blocking.state}, and {plan.operation} must "
            "not run beside it: their effects could not be told apart. Nothing was called; ask again when it ends."
        )

    def _ended(self, plan: Plan, seen: Effect) -> Replay | None:
        """The outcome under the key of `plan`; None while it is open."""
        if seen.params_sha != plan.sha:
            raise KeyReused(
                f"the key {plan.key!r} of {self._agent_id} stands for another call ({seen.operation}, "
                f"{seen.created_at:%Y-%m-%d %H:%M:%S} UTC). Nothing was called; use a new key for a new call."
            )
        return replayed(seen) if seen.ended or seen.state is EffectState.MANUAL else None

    def _take_up(self, tx: Transaction, plan: Plan, seen: Effect, began: float) -> Claim | Replay:
        replay = self._ended(plan, seen)
        if replay is not None:
            return replay
        ready = seen.state is EffectState.READY
        target = EffectState.INTENT if ready else EffectState.IN_DOUBT
        if ready:
            require_not_frozen(tx, self._agent_id, plan.service)
        lease_s = self._rules.lease_s(plan.deadline_s)
        fence = None if seen.leased else effect_rows.take_over(tx, seen, target, lease_s=lease_s, called=ready)
        if fence is None:
            raise EffectInProgress(
                f"another process is making the call {plan.key!r} of {self._agent_id} right now; ask again shortly."
            )
        return Claim(effect=self._read(tx, plan), fence=fence, clean=ready, began=began, early_s=_early_s(seen))


def _early_s(seen: Effect) -> float:
    """Seconds until the next look at an effect is due, 0 when it is."""
    waits = timedelta() if seen.next_verify_at is None else seen.next_verify_at - seen.read_at
    return max(waits.total_seconds(), 0.0)


def _hold(row: dict[str, Any], plan: Plan) -> Posting | None:
    """The posting that takes the money for the effect in `row`."""
    if row["hold_id"] is None:
        return None
    effect_id = row["id"]
    return Posting(
        id=row["hold_id"],
        key=f"{effect_id}:hold",
        lines=plan.held,
        kind=HOLD,
        scope=SCOPE,
        effect_id=effect_id,
        sha=plan.sha,
    )


def _asked(effect: Effect, plan: Plan) -> GuardRequest:
    return GuardRequest(
        id=effect.id,
        agent_id=effect.agent_id,
        service=effect.service,
        operation=effect.operation,
        amount=plan.hold,
        at=effect.created_at,
    )


def replayed(effect: Effect) -> Replay:
    """What a finished effect gives to everyone who asks again; raises EffectFailed, EffectExpired or EffectInDoubt."""
    if effect.outcome is not None and effect.expired_at is not None:
        raise _expired(effect, effect.outcome)
    if effect.state is EffectState.SUCCEEDED and effect.outcome is not None:
        return Replay(effect.outcome["value"])
    if effect.outcome is not None:
        raise EffectFailed(f"{effect.operation} {effect.key!r} had no effect: {effect.outcome['message']}")
    raise EffectInDoubt(
        f"{effect.operation} {effect.key!r} could not be found out ({effect.note}); its money stays held and it is "
        "never called again. Look at the service, then say what happened."
    )


def _expired(effect: Effect, left: Mapping[str, Any]) -> EffectError:
    name = f"{effect.operation} {effect.key!r}"
    if effect.state is EffectState.FAILED:
        return EffectFailed(f"{name} had no effect: {left['code']}; nothing more is kept of it.")
    return EffectExpired(
        f"{name} happened, and was recorded at {effect.resolved_at:%Y-%m-%d %H:%M:%S} UTC; its result is not kept any "
        f"more. Nothing was called; what it moved is in the ledger, under the effect {effect.id}."
    )
