"""Whether everything that agents were told is there, with the very value that they were told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.conversation.turns import conversation_id
from agentstate.state import codec
from agentstate.store.tables import effects, jobs, memories, turns
from deploy.local.demo.fleet import SESSION
from deploy.local.demo.receipts import Told

_GONE = object()


def lost(connection: Connection, told: Iterable[Told]) -> list[str]:
    """What was acknowledged and is not there, or is there with another value."""
    kept = {**_effects(connection), **_memories(connection), **_turns(connection), **_jobs(connection)}
    return list(_missing(told, kept))


def _missing(told: Iterable[Told], kept: dict[tuple[str, str, str], Any]) -> Iterator[str]:
    for item in told:
        found = kept.get((item.agent_id, item.what, _key(item)), _GONE)
        if found is _GONE:
            yield f"{item.what} {item.key} of {item.agent_id} is gone"
        elif item.value is not None and codec.dumps(found) != codec.dumps(item.value):
            yield f"{item.what} {item.key} of {item.agent_id} is there with another value"


def _key(item: Told) -> str:
    return str(UUID(item.key)) if item.what in {"memory", "job"} else item.key


def _effects(connection: Connection) -> dict[tuple[str, str, str], Any]:
    table = effects.c
    found = connection.execute(sa.select(table.agent_id, table.key, table.outcome).where(table.state == "succeeded"))
    return {(row.agent_id, "effect", row.key): row.outcome["value"] for row in found}


def _memories(connection: Connection) -> dict[tuple[str, str, str], Any]:
    found = connection.execute(sa.select(memories.c.agent_id, memories.c.id))
    return {(row.agent_id, "memory", str(row.id)): None for row in found}


def _turns(connection: Connection) -> dict[tuple[str, str, str], Any]:
    table = turns.c
    found = connection.execute(
        sa.select(table.agent_id, table.conversation_id, table.source_id, table.number).where(
            table.source_id.is_not(None)
        )
    )
    return {
        (row.agent_id, "turn", row.source_id): row.number
        for row in found
        if row.conversation_id == conversation_id(row.agent_id, SESSION)
    }


def _jobs(connection: Connection) -> dict[tuple[str, str, str], Any]:
    """Jobs that have ended well, by id, and those that came by the broker, by key too."""
    table = jobs.c
    rows = connection.execute(sa.select(table.id, table.agent_id, table.dedupe_key).where(table.status == "done")).all()
    by_id = {(row.agent_id, "job", str(row.id)): None for row in rows}
    return by_id | {(row.agent_id, "submission", row.dedupe_key): None for row in rows if row.dedupe_key}
