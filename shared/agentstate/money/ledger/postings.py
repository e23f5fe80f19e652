"""Postings: the lines of one ledger transaction, before they are written.

A line adds an amount (below zero: takes it) to one account, named by service and bucket. The lines of a transaction
sum to zero in each currency, so that money only moves and never appears.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from agentstate.errors import InvalidInput, Unbalanced
from agentstate.ids import validate_name
from agentstate.money.amounts import Money, require_positive

MAX_LINES = 500
MAX_KEY = 200
CALLER_SCOPE = "caller"
"""Scope of the keys that callers choose; parts of agentstate have scopes of their own."""


class Bucket(StrEnum):
    """What a part of an agent's money at a service is for."""

    AVAILABLE = "available"
    """Free to use."""
    IN_FLIGHT = "in_flight"
    """Held for an effect whose outcome is not known yet; returns to zero."""
    ESCROW_LOCKED = "escrow_locked"
    """Locked in an escrow that the agent made."""
    EXTERNAL = "external"
    """The counter-account: where money comes from and goes to. Below zero by what came in."""
    FEES = "fees"
    """Counter-account of fees paid."""
    ROUNDING = "rounding"
    """Counter-account of what a service's rounding gave or took."""
    SUSPENSE = "suspense"
    """What happened at the service beyond what the books could cover; never refused, always to be explained."""


COUNTER_BUCKETS = frozenset({Bucket.EXTERNAL, Bucket.FEES, Bucket.ROUNDING, Bucket.SUSPENSE})
"""Buckets without a floor: they may go below zero."""

OWNED_BUCKETS = frozenset({Bucket.AVAILABLE, Bucket.IN_FLIGHT, Bucket.ESCROW_LOCKED, Bucket.SUSPENSE})
"""Buckets that together are what the agent owns at a service."""

Place: TypeAlias = tuple[str, str]
"""A service and a bucket."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `amount` is added to the account (`service`, `bucket`) in the amount's currency.

    Raises:
        InvalidInput: a name with odd characters, or an amount of zero.
    """

    service: str
    bucket: str
    amount: Money

    def __post_init__(self) -> None:
        validate_name(self.service, "service")
        validate_name(self.bucket, "bucket")
        if not self.amount:
            raise InvalidInput(f"a line of zero on {self.service}/{self.bucket} moves nothing; leave it out.")

    @property
    def account(self) -> AccountKey:
        """The account that the line is for."""
        return AccountKey(self.service, str(self.bucket), self.amount.currency)


@dataclass(frozen=True, slots=True)
class Credit:
    """Lines in another agent's books."""

    agent_id: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True, order=True)
class AccountKey:
    """What names an account of one agent."""

    service: str
    bucket: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One ledger transaction to be written; see `TransactionLedger.post` for the fields."""

    key: str
    lines: Sequence[Line]
    kind: str = "transfer"
    id: UUID | None = None
    scope: str = CALLER_SCOPE
    effective_at: datetime | None = None
    meta: Mapping[str, Any] | None = None
    effect_id: UUID | None = None
    resolves: UUID | None = None
    # Money that has moved outside is recorded even when the books say it was not there: the lack goes to suspense.
    suspend_shortage: bool = False
    # What the key stands for, where that was settled elsewhere: the posting was first made in another store.
    sha: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One ledger transaction as it is written.

    `replayed` is True when it had been written before under the same key.
    """

    id: UUID
    key: str
    kind: str
    lines: tuple[Line, ...]
    effective_at: datetime
    recorded_at: datetime
    effect_id: UUID | None = None
    resolves: UUID | None = None
    meta: Mapping[str, Any] | None = field(default=None, hash=False)
    replayed: bool = False


def move(amount: Money, source: Place, target: Place) -> list[Line]:
    """The two lines that take `amount` (above zero) from `source` to `target`."""
    require_positive(amount)
    return [Line(*source, -amount), Line(*target, amount)]


def spend(service: str, amount: Money) -> list[Line]:
    """Money that left the agent at `service`: from available to external."""
    return move(amount, (service, Bucket.AVAILABLE), (service, Bucket.EXTERNAL))


def earn(service: str, amount: Money) -> list[Line]:
    """Money that came to the agent at `service`: from external to available."""
    return move(amount, (service, Bucket.EXTERNAL), (service, Bucket.AVAILABLE))


def net_lines(lines: Iterable[Line]) -> list[Line]:
    """One line per account with the sum of its lines; accounts that end where they began are left out."""
    sums: dict[AccountKey, int] = defaultdict(int)
    for line in lines:
        sums[line.account] += line.amount.minor
    return [
        Line(key.service, key.bucket, Money.from_minor(minor, key.currency)) for key, minor in sums.items() if minor
    ]


def validate_lines(lines: Sequence[Line]) -> None:
    """Raise Unbalanced unless `lines` sum to zero per currency, InvalidInput when there are none or too many."""
    if not 2 <= len(lines) <= MAX_LINES:  # noqa: PLR2004 a move has two ends
        raise InvalidInput(f"a transaction has 2 to {MAX_LINES} lines, not {len(lines)}. Nothing was posted.")
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        sums[line.amount.currency] += line.amount.minor
    wrong = {currency: minor for currency, minor in sums.items() if minor}
    if wrong:
        shown = ", ".join(f"{currency} {minor}" for currency, minor in sorted(wrong.items()))
        raise Unbalanced(f"the lines sum to {shown} minor units instead of zero. Nothing was posted.")


def validate_key(key: str) -> str:
    """Return `key` when it may be an idempotency key (1 to 200 printable characters); raise InvalidInput else."""
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise InvalidInput(f"the key {key[:60]!r} is refused: use 1 to {MAX_KEY} printable characters.")
    return key
