"""The updates of agents in the durable store: numbered without gaps in the order of their commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput, UpdatesLost
from agentstate.state import codec
from agentstate.store.store import Transaction
from agentstate.store.tables.base import statement_time
from agentstate.store.tables.state import update_heads as heads
from agentstate.store.tables.state import updates
from agentstate.store.upsert import insert_new


@dataclass(frozen=True)
class Update:
    """A field of an agent got a value.

    `seq` counts the agent's updates from 1 without gaps; keep the last one seen to go on from there.
    """

    agent_id: str
    seq: int
    field: str
    value: Any
    at: datetime

    def to_json(self) -> str:
        """Return the update as exact JSON."""
        return codec.dumps(
            {"agent_id": self.agent_id, "seq": self.seq, "field": self.field, "value": self.value, "at": self.at}
        )

    @classmethod
    def from_json(cls, body: str) -> Update:
        """Parse the text of `to_json`; raise InvalidInput."""
        return cls(**codec.loads(body))


@dataclass(frozen=True)
class Head:
    """Numbers of the newest update of an agent and of the newest removed one."""

    seq: int
    removed_through: int


def append_update(tx: Transaction, agent_id: str, field: str, value: Any) -> Update:
    """Add an update with the next number; other publishers of this agent wait until `tx` ends."""
    body = codec.dumps(value)
    insert_new(tx, heads, [{"agent_id": agent_id, "seq": 0, "removed_through": 0}])
    seq = tx.connection.execute(
        heads.update().where(heads.c.agent_id == agent_id).values(seq=heads.c.seq + 1).returning(heads.c.seq)
    ).scalar_one()
    at = tx.now()
    row = {"agent_id": agent_id, "seq": seq, "field": field, "value": body, "at": at}
    tx.connection.execute(updates.insert().values(row))
    return Update(agent_id, seq, field, codec.loads(body), at)


def read_head(connection: Connection, agent_id: str) -> Head:
    """Return the head of an agent's updates; zeros when it has published none."""
    row = connection.execute(sa.select(heads).where(heads.c.agent_id == agent_id)).one_or_none()
    return Head(0, 0) if row is None else Head(row.seq, row.removed_through)


def read_after(connection: Connection, agent_id: str, seq: int, limit: int) -> list[Update]:
    """Return the updates after number `seq`, oldest first.

    Raises:
        UpdatesLost: some of them are removed. InvalidInput: `seq` was never reached.
    """
    now = read_head(connection, agent_id)
    if seq > now.seq:
        raise InvalidInput(
            f"{agent_id} has published {now.seq:,} updates and none with number {seq:,}: was the store restored from "
            "an older copy? Read the state itself, then go on from the present number."
        )
    if seq < now.removed_through:
        raise UpdatesLost(
            f"updates {seq + 1:,} to {now.removed_through:,} of {agent_id} are no longer kept. Read the state itself, "
            f"then go on from {now.removed_through:,}.",
            resume_from=now.removed_through,
        )
    wanted = (updates.c.agent_id == agent_id, updates.c.seq > seq)
    rows = connection.execute(sa.select(updates).where(*wanted).order_by(updates.c.seq).limit(limit)).all()
    return [Update(row.agent_id, row.seq, row.field, codec.loads(row.value), row.at) for row in rows]


def remove_old(tx: Transaction, *, kept: int, ttl_s: float, agents: int) -> int:
    """Remove updates beyond the newest `kept`, and those older than `ttl_s`, of some agents; return the count."""
    expired = updates.c.at < statement_time(-ttl_s)
    aged = sa.select(updates.c.agent_id).where(expired)
    many = sa.select(heads.c.agent_id).where(heads.c.seq - heads.c.removed_through > kept)
    removed = 0
    for agent_id in tx.connection.execute(sa.union(aged, many).limit(agents)).scalars().all():
        newest = read_head(tx.connection, agent_id).seq
        last = sa.select(sa.func.max(updates.c.seq)).where(updates.c.agent_id == agent_id, expired)
        through = max(newest - kept, tx.connection.execute(last).scalar_one() or 0)
        tx.connection.execute(heads.update().where(heads.c.agent_id == agent_id).values(removed_through=through))
        gone = updates.delete().where(updates.c.agent_id == agent_id, updates.c.seq <= through)
        removed += tx.connection.execute(gone).rowcount
    return removed
