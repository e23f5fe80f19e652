"""Postings: the lines of one ledger transaction, before they are written, and the accounts that they name.

A line adds an amount (takes it, when negative) to one account, named by service and bucket. The lines of a transaction
sum to zero in each currency, so money only moves and never appears.

Casino, escrow and faucet are three services over one balance: an escrow is paid from, and a faucet credits, the balance
that the casino shows. Their accounts stay apart by service, and are reconciled and shown as one.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
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
    """Purpose of a part of an agent's money at a service."""

    AVAILABLE = "available"
    """Free to use."""
    IN_FLIGHT = "in_flight"
    """Held for an effect whose outcome is not known yet; returns to zero."""
    ESCROW_LOCKED = "escrow_locked"
    """Locked in an escrow that the agent made."""
    EXTERNAL = "external"
    """Counter-account of deposits and payouts; negative by the money that came in."""
    FEES = "fees"
    """Counter-account of fees paid."""
    ROUNDING = "rounding"
    """Counter-account of amounts that a service's rounding gave or took."""
    SUSPENSE = "suspense"
    """Money that the service moved beyond what the books could cover; never refused, always to be explained."""


COUNTER_BUCKETS = frozenset({Bucket.EXTERNAL, Bucket.FEES, Bucket.ROUNDING, Bucket.SUSPENSE})
"""Buckets without a floor: they may go below zero."""

OWNED_BUCKETS = frozenset({Bucket.AVAILABLE, Bucket.IN_FLIGHT, Bucket.ESCROW_LOCKED, Bucket.SUSPENSE})
"""Buckets whose sum the agent owns at a service."""

Place: TypeAlias = tuple[str, str]
"""A service and a bucket."""


@dataclass(frozen=True, slots=True, order=True)
class AccountKey:
    """Key of one agent's account: service, bucket and currency."""

    service: str
    bucket: str
    currency: str


@lru_cache(maxsize=10_000)
def make_account_key(service: str, bucket: str, currency: str) -> AccountKey:
    """Return the key of an account; raises InvalidInput for a name with odd characters."""
    return AccountKey(validate_name(service, "service"), validate_name(str(bucket), "bucket"), currency)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a posting: `amount` is added to the account (`service`, `bucket`) in the amount's currency.

    Raises:
        InvalidInput: a name with odd characters, or an amount of zero.
    """

    service: str
    bucket: str
    amount: Money
    account: AccountKey = field(init=False, compare=False, repr=False)
    """The account that the line is for."""

    def __post_init__(self) -> None:
        given: tuple[object, ...] = (self.service, self.bucket, self.amount)
        if [isinstance(each, kind) for each, kind in zip(given, (str, str, Money), strict=True)] != [True] * 3:
            raise InvalidInput(f"a line is a service, a bucket and Money, such as Money('2.50'), not {given!r:.80}.")
        key = make_account_key(self.service, self.bucket, self.amount.currency)
        object.__setattr__(self, "account", key)
        if not self.amount.minor:
            raise InvalidInput(f"a line of zero on {self.service}/{self.bucket} moves nothing; leave it out.")


@dataclass(frozen=True, slots=True)
class Credit:
    """Lines in another agent's books."""

    agent_id: str
    lines: Sequence[Line]


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
    # Money that has moved outside is recorded even when the books lack it: the shortage goes to suspense.
    suspend_shortage: bool = False
    # Fingerprint of the key, where another store or the effect has settled it already.
    sha: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", normalize_key(self.key))


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
    """Return the two lines that take `amount` (above zero) from `source` to `target`.

    Example:
        agent.ledger.post("top-up:4", move(Money("5"), ("wallet", "available"), ("casino", "available")))
    """
    require_positive(amount)
    return [Line(*source, -amount), Line(*target, amount)]


def spend(service: str, amount: Money) -> list[Line]:
    """Return the lines of money that left the agent at `service`: from available to external."""
    return move(amount, (service, Bucket.AVAILABLE), (service, Bucket.EXTERNAL))


def earn(service: str, amount: Money) -> list[Line]:
    """Return the lines of money that came to the agent at `service`: from external to available."""
    return move(amount, (service, Bucket.EXTERNAL), (service, Bucket.AVAILABLE))


def hold_money(service: str, amount: Money) -> list[Line]:
    """Return the lines that set `amount` aside at `service`: from available to in flight."""
    return move(amount, (service, Bucket.AVAILABLE), (service, Bucket.IN_FLIGHT))


def reverse_lines(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that undo `lines`, such as those of a hold."""
    return [Line(line.service, line.bucket, -line.amount) for line in lines]


def spend_all(held: Iterable[Line]) -> list[Line]:
    """Return the lines that spend all money that the lines `held` took from available."""
    return [line for taken in held if taken.amount.minor < 0 for line in spend(taken.service, -taken.amount)]


def net_lines(lines: Iterable[Line], *, released: Iterable[Line] = ()) -> list[Line]:
    """Return one line per account with the sum of its lines, without accounts that end where they began.

    The lines of `released`, such as those of a hold, are undone.
    """
    sums: dict[AccountKey, int] = defaultdict(int)
    for sign, some in ((1, lines), (-1, released)):
        for line in some:
            sums[line.account] += sign * line.amount.minor
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


def normalize_key(key: str) -> str:
    """Return an idempotency key in the Unicode form NFC, so that one text is one key however it was typed.

    Raises:
        InvalidInput: it is not 1 to 200 printable characters, or has blanks at an end.
    """
    given: object = key
    if isinstance(given, str):
        normal = unicodedata.normalize("NFC", given)
        if 1 <= len(normal) <= MAX_KEY and normal.isprintable() and normal == normal.strip():
            return normal
    raise InvalidInput(
        f"the key {str(given)[:60]!r} is refused: use 1 to {MAX_KEY} printable characters without blanks at the ends. "
        "Nothing was done."
    )


_shared_balances = {"escrow": "casino", "faucet": "casino"}


def share_balance(service: str, shown_by: str) -> None:
    """Declare that `service` keeps no balance of its own: `shown_by` shows it."""
    _shared_balances[service] = balance_service(shown_by)


def balance_service(service: str) -> str:
    """Return the service that shows the balance of `service`: itself, unless declared otherwise."""
    return _shared_balances.get(service, service)


def services_of_balance(service: str) -> list[str]:
    """Return all services that share the balance of `service`, sorted."""
    shown_by = balance_service(service)
    return sorted({shown_by, *(member for member, other in _shared_balances.items() if other == shown_by)})
