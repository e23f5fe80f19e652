"""What a caller wants done once: checked whole before anything is written, and fingerprinted.

Also the rules of time that effects follow, in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from agentstate.errors import InvalidInput
from agentstate.ids import validate_name
from agentstate.money.amounts import Money, require_positive
from agentstate.money.effects.bookings import Bookings
from agentstate.money.effects.fingerprint import fingerprint, storable
from agentstate.money.effects.verdicts import Guarantee, Verdict
from agentstate.money.ledger.postings import Bucket, Line, move, validate_key
from agentstate.money.ledger.shared_balances import balance_service
from agentstate.state import codec
from agentstate.store.store import Transaction

_LONGEST_DEADLINE_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a verification is told about the call that it looks for."""

    agent_id: str
    key: str
    remote_key: str
    params: Mapping[str, Any]
    attempt: int
    called_at: datetime
    baseline: Any


Call: TypeAlias = Callable[[str], Any]
"""Makes the call; is given the key for the remote, returns the receipt."""

Verify: TypeAlias = Callable[[Intent], Verdict]


class JobQueue(Protocol):
    """What effects need of `agentstate.jobs.Jobs`."""

    def submit(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        agent_id: str | None = None,
        dedupe_key: str | None = None,
        coalesce_key: str | None = None,
        due_in: float = 0.0,
        tx: Transaction | None = None,
    ) -> UUID:
        """Write a job in `tx`."""


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

    def remembered(self, age: timedelta) -> bool:
        """Whether a KEYED remote still knows the key of a call of this age."""
        return age.total_seconds() < self.key_memory_s

    def lease_s(self, deadline_s: float) -> float:
        """How long a lease runs for a call that may take `deadline_s`."""
        return deadline_s + self.lease_margin_s

    def next_look(self, looks: int, soonest: float | None) -> float:
        """Seconds until the next look after `looks` without a verdict; sooner when it can tell sooner."""
        pause = min(self.backoff_s * 2.0 ** min(looks, 20), self.backoff_cap_s)
        return pause if soonest is None else min(pause, max(soonest, 0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One call to be made once; see `Effects.execute_once` for the fields."""

    key: str
    call: Call
    operation: str
    service: str
    guarantee: Guarantee
    params: Mapping[str, Any]
    hold: Money | None = None
    verify: Verify | None = None
    bookings: Bookings = field(default_factory=Bookings)
    baseline: Any = None
    serial_key: str | None = None
    deadline_s: float = 30.0
    settle_s: float = 35.0
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        validate_key(self.key)
        validate_name(self.operation, "operation")
        validate_name(self.service, "service")
        self._check_times()
        if self.hold is not None:
            require_positive(self.hold, "hold")
        if self.guarantee is Guarantee.VERIFIABLE and self.verify is None:
            raise InvalidInput(f"{self.operation} is declared verifiable; give a `verify`. Nothing was called.")
        object.__setattr__(self, "params", storable(self.params))
        object.__setattr__(self, "baseline", codec.copied(self.baseline))
        what = [self.operation, self.service, self.params, self.hold]
        object.__setattr__(self, "sha", fingerprint(what))

    @property
    def held(self) -> list[Line]:
        """The lines of the hold: taken from what is available where the service's balance is kept."""
        if self.hold is None:
            return []
        pays = balance_service(self.service)
        return move(self.hold, (pays, Bucket.AVAILABLE), (pays, Bucket.IN_FLIGHT))

    def _check_times(self) -> None:
        if not 0 < self.deadline_s <= _LONGEST_DEADLINE_S:
            raise InvalidInput(f"deadline_s={self.deadline_s} is refused: use up to {_LONGEST_DEADLINE_S:g} seconds.")
        if not 0 <= self.settle_s <= _LONGEST_DEADLINE_S:
            raise InvalidInput(f"settle_s={self.settle_s} is refused: use up to {_LONGEST_DEADLINE_S:g} seconds.")
