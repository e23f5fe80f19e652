"""Plain journal entries, as the guide writes them: one dict with a signed amount, made into a balanced posting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agentstate.errors import AmountInvalid, InvalidInput
from agentstate.money.amounts import Money
from agentstate.money.ledger.postings import Posting, earn, spend
from agentstate.state import codec

AMOUNT = "amount_usdc"
_OWN_FIELDS = frozenset({AMOUNT, "type", "service", "key", "timestamp"})


def parse_entry(entry: Mapping[str, Any], *, key: str, service: str) -> Posting:
    """The posting that `entry` stands for; `key` and `service` are used where it names none.

    Raises:
        InvalidInput: `amount_usdc` is missing (a misspelt amount is not zero), or a field is wrong.
    """
    if AMOUNT not in entry:
        raise InvalidInput(f"the entry has no {AMOUNT} (it has {sorted(map(str, entry))}). Nothing was posted.")
    amount = Money(entry[AMOUNT], "USDC")
    if not amount:
        raise AmountInvalid("an entry of zero moves nothing; leave it out. Nothing was posted.")
    where = entry.get("service", service)
    notes = {str(name): value for name, value in entry.items() if name not in _OWN_FIELDS}
    return Posting(
        key=entry.get("key", key),
        lines=earn(where, amount) if amount.minor > 0 else spend(where, -amount),
        kind=entry.get("type", "entry"),
        effective_at=_moment(entry.get("timestamp")),
        meta=codec.loads(codec.dumps(notes)) if notes else None,
    )


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, int | float) and not isinstance(moment, bool):
            moment = datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidInput(f"the timestamp {value!r} is no time with a zone; give UTC. Nothing was posted.")
    return moment
