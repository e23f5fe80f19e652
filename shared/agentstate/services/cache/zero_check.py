"""A sudden zero is suspect: some services answer 200 with amount 0 when they cannot tell (wallet on Solana and Tron).

Money that was there and is shown as zero is a suspect zero until our own operation explains it, which drops the reading
before, or until the zero has been shown for ten minutes.
"""

from __future__ import annotations

from msgspec.structs import replace

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.cache.entry import StoredEntry, from_micros
from agentstate.services.cache.quality import Quality
from agentstate.services.cache.reading import parse_parts
from agentstate.services.operations.names import Service

BELIEVED_AFTER_US = 600_000_000


def judged(service: Service, fresh: StoredEntry, before: StoredEntry | None) -> StoredEntry:
    """`fresh`, marked when it shows zero where `before` showed money."""
    if before is None or fresh.quality is not Quality.LIVE:
        return fresh
    now, was = parse_parts(service, fresh.state), _parts(service, before)
    shown = sum(now.values())
    if before.quality is Quality.SUSPECT_ZERO and before.before is not None and before.since is not None:
        if shown >= before.before or fresh.as_of - before.since >= BELIEVED_AFTER_US or 0 not in now.values():
            return fresh
        return _suspect(fresh, before.before, before)
    lost = sum(amount for part, amount in was.items() if amount > 0 and now.get(part) == 0)
    return _suspect(fresh, shown + lost, None) if lost else fresh


def _suspect(fresh: StoredEntry, before: int, first: StoredEntry | None) -> StoredEntry:
    since = fresh.as_of if first is None or first.since is None else first.since
    reason = (
        f"shown as 0 since {from_micros(since).isoformat(timespec='seconds')}, and no operation of ours explains it"
    )
    return replace(fresh, quality=Quality.SUSPECT_ZERO, reason=reason, before=before, since=since)


def _parts(service: Service, stored: StoredEntry) -> dict[str, int]:
    try:
        return parse_parts(service, stored.state)
    except ServiceAnswerInvalid:  # kept by another version
        return {}
