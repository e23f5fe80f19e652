"""Housekeeping: the sweep, schedules, the removal of expired rows, and the migration of stored states."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from agentstate.jobs import Claim, JobSweeper, table
from agentstate.jobs.jobs import submit_for_slot
from agentstate.jobs.kinds import KINDS
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.money.audit.attest import Attestor
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.table import thin_effects
from agentstate.money.guards import freezes, uses
from agentstate.money.reconciliation import cursors as recon_rows
from agentstate.runtime import Runtime
from agentstate.state import update_log
from agentstate.state.agent_db import migrate_slice
from agentstate.store import Transaction
from agentstate.store.partitions import create_partitions
from tasks.app import Slice, bulk_task, job_task, slice_task

_log = logging.getLogger(__name__)

ATTEST = "housekeeping.attest"
_EXPIRE_BATCH = 5_000
_THIN_BATCH = 500
_AGENTS = 100
MIGRATE_SLICE = 200
MIGRATE_STATES = "state.migrate_stored"


@bulk_task("housekeeping.sweep")
def sweep_jobs(runtime: Runtime) -> None:
    """Send lost wake-ups, free expired leases, and wake bulk work that waits."""
    JobSweeper(runtime.store, runtime.wake_ups).sweep_once()
    for kind in find_waiting_bulk(runtime):
        runtime.jobs.wake_bulk(kind)


@bulk_task("housekeeping.fire")
def submit_scheduled(runtime: Runtime, kind: str, period_s: int) -> None:
    """Submit the job of a schedule for the present slot."""
    submit_for_slot(runtime.store, runtime.jobs, kind, period_s)


@job_task("housekeeping.expire")
def delete_expired(runtime: Runtime, claim: Claim) -> dict[str, int]:
    """Delete expired rows, and thin the effects that ended long ago, in batches."""
    settings = runtime.settings
    return {
        "removed": _in_batches(
            runtime, partial(table.delete_expired, kept_s=settings.jobs_kept_s, limit=_EXPIRE_BATCH)
        ),
        "updates": _in_batches(
            runtime,
            partial(update_log.remove_old, kept=settings.updates_kept, ttl_s=settings.updates_ttl_s, agents=_AGENTS),
        ),
        "guard_uses": _in_batches(runtime, partial(uses.delete_old_uses, limit=_EXPIRE_BATCH)),
        "effects": _in_batches(runtime, partial(thin_effects, kept_s=settings.effects_kept_s, limit=_THIN_BATCH)),
        "freezes": _in_batches(runtime, partial(freezes.delete_old_freezes, limit=_EXPIRE_BATCH)),
    }


def _in_batches(runtime: Runtime, remove: Callable[[Transaction], int]) -> int:
    """Remove a batch a transaction until there is none; how many rows went."""
    removed, batch = 0, 1
    while batch and not runtime.stopping.is_set():
        with runtime.store.transaction() as tx:
            batch = remove(tx)
        removed += batch
    return removed


@job_task("housekeeping.months")
def create_ledger_partitions(runtime: Runtime, _claim: Claim) -> dict[str, int]:
    """Make the ledger's tables of the months to come."""
    return {"made": create_partitions(runtime.store)}


@job_task(ATTEST)
def attest_ledger(runtime: Runtime, _claim: Claim) -> dict[str, Any]:
    """Attest the ledger; damage opens a break for each place and is told in the log."""
    attestation = Attestor(runtime.store, stopping=runtime.stopping, within_s=KINDS[ATTEST].deadline_s).run()
    for damage in attestation.damages:
        _log.error("the ledger of %s is damaged: %s", damage.agent_id, damage.reason)
    return {
        "number": attestation.number,
        "root": attestation.root.hex(),
        "accounts": attestation.accounts,
        "damages": len(attestation.damages),
    }


def find_waiting_bulk(runtime: Runtime) -> list[str]:
    """The kinds of bulk work that have rows waiting."""
    waiting = {"embedding.embed_pending": EmbeddingBacklog(runtime.store).has_due()}
    with runtime.store.read_connection() as connection:
        waiting["effects.sweep"] = bool(effect_rows.list_due(connection, 1))
        waiting["reconciliation.reconcile_due"] = recon_rows.is_any_due(connection)
    return [kind for kind, has_due in waiting.items() if has_due]


@slice_task(MIGRATE_STATES)
def migrate_stored(runtime: Runtime, claim: Claim) -> Slice:
    """Migrate a slice of the stored states to the newest schema."""
    done = migrate_slice(runtime.store, after=claim.payload.after, limit=MIGRATE_SLICE)
    following = None if done.next_after is None else {"after": done.next_after}
    return Slice({"migrated": done.migrated, "refused": done.refused}, following)
