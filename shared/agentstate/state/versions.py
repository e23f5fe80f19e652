"""Rows of versioned state: read a version, and append the next one unless another writer was first.

The row in `agent_states` is locked first, so that saves of one agent stand in line; each adds its version and moves
the number on, in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentstate.store.store import Transaction
from agentstate.store.tables.state import agent_state_versions, agent_states
from agentstate.store.upsert import insert_new

SAVE = "save"
MIGRATION = "migration"

_versions = agent_state_versions.c


@dataclass(frozen=True, slots=True, kw_only=True)
class StateVersion:
    """One save of an agent's state.

    Attributes:
        agent_id: whose.
        version: 1 for the first save, and so on.
        schema_version: of the blob as it was written.
        saved_at: when, UTC, by the store's clock; never before the version before it.
        cause: `save`, or `migration` when the same content was written in a newer schema.
        state: the blob as it was written.
    """

    agent_id: str
    version: int
    schema_version: int
    saved_at: datetime
    cause: str
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest version of an agent's state, without the blob; version 0 when nothing was ever saved."""

    version: int = 0
    schema_version: int = 0
    saved_at: datetime | None = None


def lock_head(tx: Transaction, agent_id: str) -> Head:
    """Return the head of an agent's versions, locked until the transaction ends."""
    columns = (agent_states.c.version, agent_states.c.schema_version, agent_states.c.saved_at)
    query = sa.select(*columns).where(agent_states.c.agent_id == agent_id).with_for_update()
    row = tx.connection.execute(query).first()
    return Head() if row is None else Head(*row)


def has_state(connection: sa.Connection, agent_id: str) -> bool:
    """Whether a state of the agent was ever saved; locks nothing."""
    query = sa.select(agent_states.c.version).where(agent_states.c.agent_id == agent_id)
    return connection.execute(query).first() is not None


def append_version(
    tx: Transaction, agent_id: str, now: Head, *, schema_version: int, state: dict[str, Any], cause: str
) -> int | None:
    """Add the version after `now`, the head that this transaction has locked; its number.

    None when there was nothing to lock and another first save came in between.
    """
    # A clock that was set back must not make a newer version look older.
    saved_at = tx.now() if now.saved_at is None else max(tx.now(), now.saved_at)
    moved = {"version": now.version + 1, "schema_version": schema_version, "saved_at": saved_at}
    if now.version > 0:
        tx.connection.execute(sa.update(agent_states).where(agent_states.c.agent_id == agent_id).values(moved))
    elif insert_new(tx, agent_states, [{"agent_id": agent_id, **moved}]) == 0:
        return None
    row = {**moved, "agent_id": agent_id, "state": state, "cause": cause}
    tx.connection.execute(sa.insert(agent_state_versions).values(row))
    return now.version + 1


def find_version(
    connection: sa.Connection, agent_id: str, *, as_of: datetime | None = None, version: int | None = None
) -> StateVersion | None:
    """The newest version, or the newest that was saved by `at`, or the one of that number."""
    query = sa.select(agent_state_versions).where(_versions.agent_id == agent_id)
    if as_of is not None:
        # Both orders are one, since time never runs back here; this one is the index's.
        query = query.where(_versions.saved_at <= as_of).order_by(_versions.saved_at.desc())
    if version is not None:
        query = query.where(_versions.version == version)
    row = connection.execute(query.order_by(_versions.version.desc()).limit(1)).mappings().first()
    return None if row is None else StateVersion(**row)


def list_versions(
    connection: sa.Connection, agent_id: str, *, limit: int, before: int | None = None
) -> list[StateVersion]:
    """Return versions below `before`, newest first."""
    query = sa.select(agent_state_versions).where(_versions.agent_id == agent_id)
    if before is not None:
        query = query.where(_versions.version < before)
    rows = connection.execute(query.order_by(_versions.version.desc()).limit(limit)).mappings()
    return [StateVersion(**row) for row in rows]


def list_outdated_agents(connection: sa.Connection, newest_schema: int, *, after: str, limit: int) -> list[str]:
    """Return the agents after `after` with a newest blob older than schema `newest_schema`."""
    query = (
        sa.select(agent_states.c.agent_id)
        .where(agent_states.c.schema_version < newest_schema, agent_states.c.agent_id > after)
        .order_by(agent_states.c.agent_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())
