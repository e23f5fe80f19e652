"""The schedule: every entry with its period and expiry."""

from __future__ import annotations

from typing import Any

from agentstate.jobs.kinds import BULK
from agentstate.settings import Settings

EXPIRE_EVERY_S = 3_600
MIGRATE_STATES_EVERY_S = 3_600
ATTEST_EVERY_S = 86_400
REFRESH_AHEAD_EVERY_S = 5
VERIFY_INDEX_EVERY_S = 600
MONTHS_EVERY_S = 86_400


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule` for these settings.

    The sweep pumps everything that waits in rows (due jobs, memories, accounts to reconcile, effects in doubt);
    only what begins by the clock alone, or waits elsewhere, has an entry of its own.
    """
    return {
        "sweep": _make_entry("housekeeping.sweep", settings.sweep_every_s),
        "refresh-ahead": _make_entry("cache.refresh_ahead", REFRESH_AHEAD_EVERY_S),
        "snapshots": _slot_entry("snapshots.take", settings.snapshot_every_s),
        "expire": _slot_entry("housekeeping.expire", EXPIRE_EVERY_S),
        "migrate-states": _slot_entry("state.migrate_stored", MIGRATE_STATES_EVERY_S),
        "verify-index": _slot_entry("embedding.verify_index", VERIFY_INDEX_EVERY_S),
        "attest": _slot_entry("housekeeping.attest", ATTEST_EVERY_S),
        "months": _slot_entry("housekeeping.months", MONTHS_EVERY_S),
    }


def _slot_entry(kind: str, period_s: int) -> dict[str, Any]:
    # Fired twice a period: the slot makes the surplus harmless, and a lost message costs half a period.
    return _make_entry("housekeeping.fire", min(period_s, max(period_s / 2, 5)), kind, period_s)


def _make_entry(kind: str, every_s: float, *arguments: Any) -> dict[str, Any]:
    return {"task": BULK[kind].task_name, "schedule": every_s, "args": arguments}
