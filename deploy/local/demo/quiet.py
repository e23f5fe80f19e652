"""Waiting for quiet: until what is due has been done, searchable is everything, and every account was compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.facts.counts import count_memories
from agentstate.runtime import Runtime
from agentstate.store.tables import effects, jobs, recon_cursors
from agentstate.store.tables.base import db_time
from deploy.local.demo.faults import PLANTED_AGENT

POLL_S = 1.0
SHOWN = 12
SOON_S = 600.0
"""What is to be done later than that, such as the lessons of what was lived today, is an appointment and not open."""

_ENDED = ("succeeded", "failed")


def open_things(runtime: Runtime, since: datetime) -> list[str]:
    """What is not finished, and why, one line each; accounts must have been compared after `since`."""
    with runtime.store.read_connection() as connection:
        return [*_jobs(connection), *_memories(connection), *_effects(connection), *_accounts(connection, since)]


def wait_for_quiet(
    runtime: Runtime, since: datetime, *, within_s: float, show: Callable[[list[str]], None]
) -> list[str]:
    """Wait until nothing is open, at most `within_s` seconds; what is still open then."""
    deadline = time.monotonic() + within_s
    while left := open_things(runtime, since):
        show(left)
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return left


def _jobs(connection: Connection) -> list[str]:
    table = jobs.c
    found = connection.execute(
        sa.select(table.kind, table.agent_id, table.status, table.attempts, table.error)
        .where(table.status.in_(("ready", "running", "dead")), table.due_at < db_time(SOON_S))
        .limit(SHOWN)
    )
    return [
        f"job {row.kind} of {row.agent_id or 'nobody'} is {row.status}, attempt {row.attempts}"
        + (f": {row.error}" if row.error else "")
        for row in found
    ]


def _memories(connection: Connection) -> list[str]:
    return [
        f"{found.agent_id}: {found.pending} memories wait and {found.dead} were given up"
        for found in count_memories(connection)
        if found.pending or found.dead
    ]


def _effects(connection: Connection) -> list[str]:
    table = effects.c
    found = connection.execute(
        sa.select(table.agent_id, table.key, table.operation, table.state, table.note)
        .where(table.state.not_in(_ENDED))
        .limit(SHOWN)
    )
    return [f"{row.operation} {row.key!r} of {row.agent_id} is {row.state}: {row.note}" for row in found]


def _accounts(connection: Connection, since: datetime) -> list[str]:
    table = recon_cursors.c
    expected = sa.case((table.agent_id == PLANTED_AGENT, "break"), else_="matched")
    wanted = sa.and_(table.status == expected, table.checked_at > since)
    not_yet = sa.or_(table.status.is_(None), table.checked_at.is_(None), sa.not_(wanted))
    found = connection.execute(sa.select(table.agent_id, table.service, table.status).where(not_yet).limit(SHOWN))
    return [f"{row.service} of {row.agent_id} is to be compared again; last: {row.status}" for row in found]
