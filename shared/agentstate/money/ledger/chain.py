"""The hash chain of an account: each entry seals all before it.

The head is kept in the account row, which a posting locks anyway, so the chain costs no lock of its own. Whoever
changes an old entry, its order or its time has to change every later hash and the head with it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hash_entry(
    head: bytes | None, *, account: UUID, seq: int, txn: UUID, amount: int, balance_after: int, recorded_at: datetime
) -> bytes:
    """The 32 bytes that seal an entry on top of `head` (None before the first)."""
    microseconds = (recorded_at - _EPOCH) // timedelta(microseconds=1)
    numbers = f"{seq}|{amount}|{balance_after}|{microseconds}".encode()
    return hashlib.sha256((head or bytes(32)) + account.bytes + txn.bytes + numbers).digest()
