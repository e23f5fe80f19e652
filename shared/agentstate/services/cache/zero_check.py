"""Suspect zeros: some services answer 200 with amount 0 when they cannot tell (the wallet on Solana and Tron).

An amount that drops to zero is suspect until an operation of our own explains it, which drops the earlier reading, or
until the zero has been shown for ten minutes.
"""

from __future__ import annotations

from msgspec.structs import replace

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.cache.entry import StoredEntry, from_micros
from agentstate.services.cache.reading import Quality, parse_parts
from agentstate.services.operations.names import Service

BELIEVED_AFTER_US = 600_000_000


def mark_suspect(service: Service, fresh: StoredEntry, before: StoredEntry | None) -> StoredEntry:
    """Return `fresh`, marked as a suspect zero when it shows zero where `before` showed money."""
    if before is None or fresh.quality is not Quality.LIVE:
        return fresh
    now = parse_parts(service, fresh.state)
    try:
        earlier = parse_parts(service, before.state)
    except ServiceAnswerInvalid:  # stored by another version
        earlier = {}
    shown = sum(now.values())
    if before.quality is Quality.SUSPECT_ZERO and before.before is not None and before.since is not None:
        since = min(before.since, fresh.as_of)  # the host that saw it first may have a fast clock
        if shown >= before.before or fresh.as_of - since >= BELIEVED_AFTER_US or 0 not in now.values():
            return fresh
        amount = before.before
    else:
        lost = sum(amount for part, amount in earlier.items() if amount > 0 and now.get(part) == 0)
        if not lost:
            return fresh
        since, amount = fresh.as_of, shown + lost
    moment = from_micros(since).isoformat(timespec="seconds")
    reason = f"shown as 0 since {moment}, and none of our operations explains it"
    return replace(fresh, quality=Quality.SUSPECT_ZERO, reason=reason, before=amount, since=since)
