"""Rows of reconciliation: cursors, which say when an account is due and lease it, and runs with their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.ids import new_id
from agentstate.money.effects.table import lease_owner_name
from agentstate.state import codec
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.money import recon_cursors, recon_runs
from agentstate.store.upsert import insert_new


@dataclass(frozen=True, slots=True)
class Cursor:
    """A claimed cursor: the right to write the next run of one account, while `fence` is the row's."""

    agent_id: str
    service: str
    fence: int
    strikes: int


def insert_cursor(tx: Transaction, agent_id: str, service: str) -> bool:
    """Start reconciling an account, due at once; False when it was started before."""
    return insert_new(tx, recon_cursors, [{"agent_id": agent_id, "service": service, "next_due_at": db_time()}]) == 1


def is_any_due(connection: Connection) -> bool:
    """True if an account is due and not leased."""
    free = sa.or_(recon_cursors.c.lease_until.is_(None), recon_cursors.c.lease_until <= statement_time())
    due = sa.exists().where(recon_cursors.c.next_due_at <= statement_time(), free)
    return bool(connection.execute(sa.select(due)).scalar_one())


def claim_one(tx: Transaction, agent_id: str, service: str, *, lease_s: float) -> Cursor:
    """Claim an account's cursor whether or not it is due; an earlier run still under way is fenced off."""
    insert_cursor(tx, agent_id, service)
    mine = (recon_cursors.c.agent_id == agent_id) & (recon_cursors.c.service == service)
    return claim_rows(tx, mine, lease_s=lease_s)[0]


def claim_due(tx: Transaction, limit: int, *, lease_s: float) -> list[Cursor]:
    """Claim up to `limit` cursors that are due and not leased, longest due first."""
    free = sa.or_(recon_cursors.c.lease_until.is_(None), recon_cursors.c.lease_until <= statement_time())
    due = (
        sa.select(recon_cursors.c.agent_id, recon_cursors.c.service)
        .where(recon_cursors.c.next_due_at <= statement_time(), free)
        .order_by(recon_cursors.c.next_due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [tuple(row) for row in tx.connection.execute(due)]
    chosen = sa.tuple_(recon_cursors.c.agent_id, recon_cursors.c.service).in_(found)
    return claim_rows(tx, chosen, lease_s=lease_s) if found else []


def claim_rows(tx: Transaction, which: sa.ColumnElement[bool], *, lease_s: float) -> list[Cursor]:
    """Lease the cursors that match `which` and raise their fences."""
    lease = {"lease_owner": lease_owner_name(), "lease_until": db_time(lease_s), "fence": recon_cursors.c.fence + 1}
    claimed = tx.connection.execute(sa.update(recon_cursors).where(which).values(lease).returning(recon_cursors))
    return [Cursor(row.agent_id, row.service, row.fence, row.strikes) for row in claimed]


def release_cursor(tx: Transaction, cursor: Cursor, *, status: str, strikes: int, due_in: float) -> bool:
    """Release the cursor, due again in `due_in` seconds; False when another run has taken it over."""
    values: dict[str, Any] = {
        "next_due_at": db_time(due_in),
        "lease_owner": None,
        "lease_until": None,
        "strikes": strikes,
        "status": status,
        "checked_at": db_time(),
    }
    if status == "matched":
        values["matched_at"] = db_time()
    mine = (
        (recon_cursors.c.agent_id == cursor.agent_id)
        & (recon_cursors.c.service == cursor.service)
        & (recon_cursors.c.fence == cursor.fence)
    )
    return tx.connection.execute(sa.update(recon_cursors).where(mine).values(values)).rowcount == 1


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last comparison of an account in one currency: its difference in minor units, and how often in a row."""

    difference: int | None = None
    strikes: int = 0


def read_last_run(connection: Connection, agent_id: str, service: str, currency: str) -> LastRun:
    """Return the last run of an account in `currency`; an empty one when there is none."""
    table = recon_runs.c
    mine = (table.agent_id == agent_id) & (table.service == service) & (table.currency == currency)
    newest = sa.select(table.difference, table.evidence).where(mine).order_by(table.finished_at.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return LastRun() if row is None else LastRun(row.difference, row.evidence.get("strikes", 0))


def insert_run(tx: Transaction, run: Mapping[str, Any], *, started_at: datetime) -> None:
    """Insert the result of one run in one currency."""
    row = {**run, "id": new_id(), "evidence": codec.to_plain(run["evidence"]), "started_at": started_at}
    tx.connection.execute(sa.insert(recon_runs).values(**row, finished_at=db_time()))
