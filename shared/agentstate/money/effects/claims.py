"""Claiming an effect: the commit that comes before the call.

The intent, its lease and the money held for it become durable together. Whoever finds the intent of another process
either replays its outcome, waits, or takes over when the lease has run out, and then knows that it is in doubt.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from typing import Any

from agentstate.errors import (
    EffectError,
    EffectExpired,
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    InvalidInput,
    KeyReused,
)
from agentstate.ids import derive_id, new_id, validate_name
from agentstate.money.amounts import Money, parse_money, require_positive
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.operation import Operation
from agentstate.money.effects.table import QUERIES, Effect, EffectState, find_effect_fast, lease_owner_name, new_effect
from agentstate.money.effects.verdicts import Guarantee
from agentstate.money.guards.authorize import authorize_request
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.guards.rules import EVERY, GuardRequest
from agentstate.money.ledger.accounts import lock_accounts_of_agents
from agentstate.money.ledger.postings import Line, Posting, balance_service, hold_money, normalize_key
from agentstate.money.ledger.statement import HOLD
from agentstate.money.ledger.writer import posting_ctes, posting_parameters, write_posting
from agentstate.state import codec
from agentstate.store.store import Store

SCOPE = "effect"
"""Scope of the ledger keys that effects choose."""

REMOTE_KEY_LENGTH = 40
_UNKEYED = b"agentstate"
_LONGEST_DEADLINE_S = 3_600.0
_INSERT_HELD = (
    f"WITH {posting_ctes(QUERIES['intent_row'], precondition=QUERIES['may_hold'])} SELECT now FROM ending, decided"  # noqa: S608
)
"""Writes the intent and takes its hold, unless the key is in use or a guard has to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRules:
    """Times of effects; seconds, where not said otherwise."""

    first_look_s: float = 2.0
    """From a doubtful call to the first look for its effect."""
    backoff_s: float = 5.0
    """Between the first looks; doubles up to `backoff_cap_s`."""
    backoff_cap_s: float = 300.0
    looks: int = 30
    """Looks without a verdict after which a human has to find out."""
    ready_s: float = 900.0
    """How long an effect that was certainly not sent waits for its caller to come again, its money held."""
    key_memory_s: float = 82_800.0
    """How long a KEYED remote is trusted to remember a key; later the call is not repeated."""
    lease_margin_s: float = 5.0
    """The lease outlasts the call's deadline by this."""
    record_tries: int = 3
    """Attempts to record a receipt while the store cannot do it for now."""
    record_pause_s: float = 0.2
    """Before the second attempt; doubles."""

    def remembers_key(self, age: timedelta) -> bool:
        """Return whether a KEYED remote still knows the key of a call of this age."""
        return age.total_seconds() < self.key_memory_s

    def lease_s(self, deadline_s: float) -> float:
        """Return the seconds of a lease for a call that may take `deadline_s`."""
        return deadline_s + self.lease_margin_s

    def next_look_s(self, looks: int, soonest: float | None) -> float:
        """Return the seconds until the next look after `looks` without a verdict; at most `soonest`, if it is known."""
        pause = min(self.backoff_s * 2.0 ** min(looks, 20), self.backoff_cap_s)
        return pause if soonest is None else min(pause, max(soonest, 0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One call to be made once for an agent under a key.

    Attributes:
        params: the parameters of the operation.
        hold: the most that it may cost, of the operation or, if larger, of the caller.
        sha: fingerprint of operation, service, parameters and hold; the same key has to come with the same one.
    """

    agent_id: str
    key: str
    operation: Operation[Any]
    params: Mapping[str, Any]
    hold: Money | None
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        named = [self.operation.name, str(self.operation.service), self.params, self.hold]
        object.__setattr__(self, "sha", codec.fingerprint_value(named))

    @classmethod
    def make(cls, agent_id: str, key: str, operation: Operation[Any], hold: Money | None = None) -> Plan:
        """Make the plan of `operation` for a key; raises InvalidInput for a key or parameters that cannot be stored."""
        own = operation.hold()
        hold = None if hold is None else parse_money(hold)
        # A caller may say that more is at stake than the operation knows of, never less.
        held = own if hold is None else hold if own is None else max(own, hold)
        return cls(agent_id=agent_id, key=normalize_key(key), operation=operation, params=operation.params(), hold=held)

    def validate(self) -> None:
        """Raise InvalidInput unless the call may be written down. A replay needs none of this."""
        operation = self.operation
        validate_name(self.agent_id)
        validate_name(operation.name, "operation")
        validate_name(operation.service, "service")
        for name, seconds in (("deadline_s", operation.deadline_s), ("settle_s", operation.settle_s)):
            if not (0 if name == "settle_s" else 1e-9) <= seconds <= _LONGEST_DEADLINE_S:
                raise InvalidInput(f"{name}={seconds} is refused: use up to {_LONGEST_DEADLINE_S:g} seconds.")
        if operation.guarantee is Guarantee.VERIFIABLE and not operation.is_verifiable:
            raise InvalidInput(f"{operation.name} is declared verifiable; give a `verify`. Nothing was called.")
        if self.hold is not None:
            require_positive(self.hold, "hold")

    def make_row(self, secret: bytes | None, baseline: Any) -> dict[str, Any]:
        """Return the columns of the effect that are not times, under a new id."""
        effect_id = new_id()
        return {
            "id": effect_id,
            "agent_id": self.agent_id,
            "key": self.key,
            "service": str(self.operation.service),
            "operation": self.operation.name,
            "params": codec.deep_copy(dict(self.params)),
            "params_sha": self.sha,
            "remote_key": make_remote_key(secret, self.agent_id, self.key),
            "guarantee": self.operation.guarantee,
            "deadline_ms": round(self.operation.deadline_s * 1000),
            "settle_ms": round(self.operation.settle_s * 1000),
            "baseline": None if baseline is None else codec.deep_copy(baseline),
            "serial_key": self.operation.serial_key(),
            "hold_id": None if self.hold is None else derive_id("hold", str(effect_id)),
        }

    def make_hold(self, row: Mapping[str, Any]) -> Posting | None:
        """Return the posting that takes the money for the effect in `row`; None when nothing is held."""
        if self.hold is None:
            return None
        return Posting(
            id=row["hold_id"],
            key=f"{row['id']}:hold",
            # Taken where the service's balance is kept.
            lines=hold_money(balance_service(self.operation.service), self.hold),
            kind=HOLD,
            scope=SCOPE,
            effect_id=row["id"],
            sha=self.sha,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on an effect, until the lease ends or the fence is raised.

    Attributes:
        clean: whether no call of this effect can have reached the remote yet.
        began: this process's monotonic clock at the claim, in seconds.
        held: the lines of its hold; None where they have to be read.
        early_s: seconds by which it was taken up before its next look was due.
    """

    effect: Effect
    fence: int
    clean: bool
    began: float
    held: Sequence[Line] | None = None
    early_s: float = 0.0

    @classmethod
    def begin(cls, effect: Effect, fence: int, *, clean: bool = False) -> Claim:
        """Return a claim that begins now."""
        return cls(effect=effect, fence=fence, clean=clean, began=time.monotonic())

    def renew(self, *, clean: bool) -> Claim:
        """Return the same claim, for another attempt that begins now."""
        return replace(self, clean=clean, began=time.monotonic())

    @property
    def elapsed_s(self) -> float:
        """Seconds since before the claim, by this process's clock; never less than the lease has run."""
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Replay:
    """The stored result of an effect that succeeded before."""

    value: Any


class Claims:
    """Claims effects of any agent."""

    def __init__(self, store: Store, *, secret: bytes | None, rules: EffectRules) -> None:
        self._store = store
        self._secret = secret
        self._rules = rules

    def find(self, plan: Plan) -> Effect | Replay | None:
        """Return the outcome under the key of `plan`, the effect while it is open, None when the key is new.

        One SELECT, and nothing else: this is all of a replay.

        Raises:
            KeyReused: the key stands for another call. EffectFailed: it failed for certain before.
            EffectExpired: it succeeded so long ago that its result is gone. EffectInDoubt: a human has to find out.
        """
        if self._store.database.has_single_statement_commit:
            seen = find_effect_fast(self._store, plan.agent_id, plan.key)
        else:
            with self._store.read_connection() as connection:
                seen = effect_rows.find_by_key(connection, plan.agent_id, plan.key)
        return seen and (find_replay(plan, seen) or seen)

    def claim(self, plan: Plan, *, seen: Effect | None, baseline: Any) -> Claim | Replay:
        """Write the intent of `plan`, or take over the open effect under its key.

        Args:
            plan: the call.
            seen: the open effect that was found under the key, if any.
            baseline: what the remote showed before the call.

        Raises:
            EffectInProgress: another process is at it, or at one with the same serial key.
            InsufficientFunds: the money to hold is not there; nothing was written.
            LimitExceeded, Frozen: a guard of the agent forbids it; nothing was written.
            Also what `find` raises.
        """
        began = time.monotonic()
        lease_s = self._rules.lease_s(plan.operation.deadline_s)
        if seen is None:
            plan.validate()
            row = plan.make_row(self._secret, baseline)
            hold = plan.make_hold(row)
            # Nearly always: a new key, no guard, and money enough. One statement, or nothing.
            written = self._insert_intent_fast(row, hold, lease_s=lease_s)
            # With a guard to ask, or when it was refused: in steps that say why. None: the key was taken meanwhile.
            if written is None:
                written = self._insert_intent_checked(plan, row, hold, lease_s=lease_s)
            if written is not None:
                held = [] if hold is None else hold.lines
                return Claim(effect=written, fence=1, clean=True, began=began, held=held)
        # There is an effect under the key: take it up, if nobody is at it.
        return self._take_over_expired(plan, began=began, lease_s=lease_s)

    def _insert_intent_fast(self, row: Mapping[str, Any], hold: Posting | None, *, lease_s: float) -> Effect | None:
        """Commit an intent and its hold by one Postgres statement; None when that could not be done and nothing was."""
        if not self._store.database.has_single_statement_commit:
            return None
        service = row["service"]
        values = {
            **row,
            "params": codec.dumps(row["params"]),
            "baseline": None if row["baseline"] is None else codec.dumps(row["baseline"]),
            "guarantee": str(row["guarantee"]),
            "deadline_ms": str(row["deadline_ms"]),
            "settle_ms": str(row["settle_ms"]),
            "lease_owner": lease_owner_name(),
            "lease_s": f"{lease_s} seconds",
            # The services whose freeze stops this one.
            "stopping": [service, balance_service(service), EVERY],
        }
        if hold is None:
            written = self._store.commit_one(QUERIES["insert_intent"], values)
        else:
            written = self._store.commit_one(_INSERT_HELD, values | posting_parameters(row["agent_id"], hold))
        return None if written is None else new_effect(row, written[0].astimezone(UTC), lease_s=lease_s)

    def _insert_intent_checked(
        self, plan: Plan, row: dict[str, Any], hold: Posting | None, *, lease_s: float
    ) -> Effect | None:
        with self._store.transaction() as tx:
            if hold is not None:
                lock_accounts_of_agents(tx, [(plan.agent_id, line.account) for line in hold.lines])
            written = effect_rows.insert_effect(tx, row, lease_s=lease_s)
            if written is None:
                return None
            # After the row, before the money: what is let in counts for whoever asks next, and is undone when refused.
            authorize_request(
                tx,
                GuardRequest(
                    id=written.id,
                    agent_id=written.agent_id,
                    service=written.service,
                    operation=written.operation,
                    amount=plan.hold,
                    at=written.created_at,
                ),
            )
            if hold is not None:
                write_posting(tx, plan.agent_id, hold)
        return written

    def _take_over_expired(self, plan: Plan, *, began: float, lease_s: float) -> Claim | Replay:
        # A transaction of its own: what an insert before waited for is committed by now.
        with self._store.transaction() as tx:
            seen = effect_rows.find_by_key(tx.connection, plan.agent_id, plan.key)
            if seen is None:
                serial_key = plan.operation.serial_key()
                blocking = serial_key and effect_rows.find_blocking(tx.connection, plan.agent_id, serial_key)
                raise EffectInProgress(_describe_blocking(plan, blocking or None))
            replay = find_replay(plan, seen)
            if replay is not None:
                return replay
            # Certainly not sent: a call that has not begun, which a freeze stops. Any other is in doubt from now on.
            ready = seen.state is EffectState.READY
            if ready:
                require_not_frozen(tx, plan.agent_id, plan.operation.service)
            target = EffectState.INTENT if ready else EffectState.IN_DOUBT
            fence = None
            if not seen.is_leased:
                fence = effect_rows.take_over(tx, seen, target, lease_s=lease_s, called=ready)
            if fence is None:
                raise EffectInProgress(
                    f"another process is making the call {plan.key!r} of {plan.agent_id} right now; ask again shortly."
                )
            taken = effect_rows.load_effect(tx.connection, seen.id)
        early_s = 0.0 if seen.next_verify_at is None else (seen.next_verify_at - seen.read_at).total_seconds()
        return Claim(effect=taken, fence=fence, clean=ready, began=began, early_s=max(early_s, 0.0))


def make_remote_key(secret: bytes | None, agent_id: str, key: str) -> str:
    """Return the name under which a remote service knows the effect `key` of `agent_id`: 40 hex digits.

    Made from the key alone, so a store that lost the effect makes the same name again and the remote still dedupes.
    With a `secret` nobody outside can foretell it, which matters where the remote uses it as a seed.
    """
    text = f"{len(agent_id)}:{agent_id}|{key}".encode()
    return hmac.new(secret or _UNKEYED, text, hashlib.sha256).hexdigest()[:REMOTE_KEY_LENGTH]


def find_replay(plan: Plan, seen: Effect) -> Replay | None:
    """Return the stored outcome for `plan`, None while the effect is open; raises as `Claims.find`."""
    if seen.params_sha != plan.sha:
        raise KeyReused(
            f"the key {plan.key!r} of {plan.agent_id} stands for another call ({seen.operation}, "
            f"{seen.created_at:%Y-%m-%d %H:%M:%S} UTC). Nothing was called; use a new key for a new call."
        )
    if seen.outcome is not None and seen.expired_at is not None:
        raise _expired_error(seen, seen.outcome)
    if seen.state is EffectState.SUCCEEDED and seen.outcome is not None:
        return Replay(seen.outcome["value"])
    if seen.outcome is not None:
        raise EffectFailed(f"{seen.operation} {seen.key!r} had no effect: {seen.outcome['message']}")
    if seen.state is EffectState.MANUAL:
        raise EffectInDoubt(
            f"{seen.operation} {seen.key!r} could not be found out ({seen.note}); its money stays held and it is "
            "never called again. Look at the service, then say what happened."
        )
    return None


def _describe_blocking(plan: Plan, blocking: Effect | None) -> str:
    if blocking is None:
        return f"the effect {plan.key!r} of {plan.agent_id} met another one that has just ended; try again."
    return (
        f"{blocking.operation} {blocking.key!r} of {plan.agent_id} is {blocking.state}, and {plan.operation.name} must "
        "not run beside it: their effects could not be told apart. Nothing was called; ask again when it ends."
    )


def _expired_error(effect: Effect, left: Mapping[str, Any]) -> EffectError:
    name = f"{effect.operation} {effect.key!r}"
    if effect.state is EffectState.FAILED:
        return EffectFailed(f"{name} had no effect: {left['code']}; nothing more is kept of it.")
    return EffectExpired(
        f"{name} happened, and was recorded at {effect.resolved_at:%Y-%m-%d %H:%M:%S} UTC; its result is not kept any "
        f"more. Nothing was called; what it moved is in the ledger, under the effect {effect.id}."
    )
