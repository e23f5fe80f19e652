"""Bringing stored states to the newest schema in the background, a slice of the agents at a time.

A migrated state is a new version beside the old one. A save that comes in between wins: it is in the newest schema
anyway. A state that cannot be migrated is left as it is, and named with the reason.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from agentstate.errors import AgentStateError
from agentstate.state import versions
from agentstate.state.agent_state import CURRENT_SCHEMA, AgentState
from agentstate.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MigratedSlice:
    """Result of one slice: states migrated, refusals by agent with reasons, and the start of the next slice."""

    migrated: int
    refused: dict[str, str]
    next_after: str | None


def migrate_slice(store: Store, *, after: str = "", limit: int = 100) -> MigratedSlice:
    """Migrate the states of at most `limit` agents after `after`, each in a transaction of its own.

    `next_after` is None when these were the last.
    """
    with store.read_connection() as connection:
        agents = versions.list_outdated_agents(connection, CURRENT_SCHEMA, after=after, limit=limit)
    migrated, refused = 0, {}
    for agent_id in agents:
        try:
            migrated += _migrate(store, agent_id)
        except AgentStateError as error:
            _log.warning("the stored state of %s cannot be migrated and was left as it is: %s", agent_id, error)
            refused[agent_id] = error.message
    return MigratedSlice(migrated, refused, agents[-1] if len(agents) == limit else None)


def _migrate(store: Store, agent_id: str) -> bool:
    with store.transaction() as tx:
        now, found = versions.lock_head(tx, agent_id), versions.find_version(tx.connection, agent_id)
        if found is None or now.schema_version >= CURRENT_SCHEMA:
            return False
        blob = AgentState.migrate(found.state, agent_id=agent_id).to_dict()
        versions.append_version(tx, agent_id, now, schema_version=CURRENT_SCHEMA, state=blob, cause=versions.MIGRATION)
    return True
