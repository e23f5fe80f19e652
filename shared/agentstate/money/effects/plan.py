"""A call to be made once, checked whole before anything is written, and the times that effects keep to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from agentstate.errors import InvalidInput
from agentstate.ids import derive_id, new_id, validate_name
from agentstate.money.amounts import Money, require_positive
from agentstate.money.effects.fingerprint import fingerprint, make_remote_key, storable_params
from agentstate.money.effects.operation import Operation
from agentstate.money.effects.verdicts import Guarantee
from agentstate.money.ledger.postings import Bucket, Line, Posting, balance_service, move, validate_key
from agentstate.money.ledger.statement import HOLD
from agentstate.state import codec

SCOPE = "effect"
"""Scope of the ledger keys that effects choose."""

_LONGEST_DEADLINE_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRules:
    """How long effects wait for what; seconds, where not said otherwise."""

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
        params: the operation's parameters as they will be stored.
        hold: the most that it may cost, of the operation or, if larger, of the caller.
        sha: fingerprint of operation, service, parameters and hold; the same key has to come with the same one.
    """

    agent_id: str
    key: str
    operation: Operation[Any]
    params: Mapping[str, Any]
    hold: Money | None
    sha: bytes

    @classmethod
    def make(cls, agent_id: str, key: str, operation: Operation[Any], hold: Money | None = None) -> Plan:
        """Make the plan of `operation` for a key; raises InvalidInput for parameters that cannot be stored."""
        params = storable_params(operation.params())
        own = operation.hold()
        # A caller may say that more is at stake than the operation knows of, never less.
        held = own if hold is None else hold if own is None else max(own, hold)
        sha = fingerprint([operation.name, str(operation.service), params, held])
        return cls(agent_id=agent_id, key=key, operation=operation, params=params, hold=held, sha=sha)

    def validate(self) -> None:
        """Raise InvalidInput unless the call may be written down. A replay needs none of this."""
        operation = self.operation
        validate_name(self.agent_id)
        validate_key(self.key)
        validate_name(operation.name, "operation")
        validate_name(operation.service, "service")
        for name, seconds in (("deadline_s", operation.deadline_s), ("settle_s", operation.settle_s)):
            if not (0 if name == "settle_s" else 1e-9) <= seconds <= _LONGEST_DEADLINE_S:
                raise InvalidInput(f"{name}={seconds} is refused: use up to {_LONGEST_DEADLINE_S:g} seconds.")
        if self.hold is not None:
            require_positive(self.hold, "hold")
        if operation.guarantee is Guarantee.VERIFIABLE and not operation.is_verifiable:
            raise InvalidInput(f"{operation.name} is declared verifiable; give a `verify`. Nothing was called.")

    @property
    def hold_lines(self) -> Sequence[Line]:
        """The lines of the hold: taken from what is available where the service's balance is kept."""
        if self.hold is None:
            return []
        pays = balance_service(self.operation.service)
        return move(self.hold, (pays, Bucket.AVAILABLE), (pays, Bucket.IN_FLIGHT))

    def make_row(self, secret: bytes | None, baseline: Any) -> dict[str, Any]:
        """Return the columns of the effect that are not times, under a new id."""
        effect_id = new_id()
        return {
            "id": effect_id,
            "agent_id": self.agent_id,
            "key": self.key,
            "service": str(self.operation.service),
            "operation": self.operation.name,
            "params": self.params,
            "params_sha": self.sha,
            "remote_key": make_remote_key(secret, self.agent_id, self.key),
            "guarantee": self.operation.guarantee,
            "deadline_ms": round(self.operation.deadline_s * 1000),
            "settle_ms": round(self.operation.settle_s * 1000),
            "baseline": codec.deep_copy(baseline),
            "serial_key": self.operation.serial_key(),
            "hold_id": derive_id("hold", str(effect_id)) if self.hold else None,
        }

    def make_hold(self, row: Mapping[str, Any]) -> Posting | None:
        """Return the posting that takes the money for the effect in `row`; None when nothing is held."""
        if row["hold_id"] is None:
            return None
        return Posting(
            id=row["hold_id"],
            key=f"{row['id']}:hold",
            lines=self.hold_lines,
            kind=HOLD,
            scope=SCOPE,
            effect_id=row["id"],
            sha=self.sha,
        )
