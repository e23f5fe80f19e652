"""Namespaces: memories that several agents share, by an offer of the owner and a yes of each other agent.

Nothing is shared by a name alone: the owner names the agent, the agent accepts, and then names the namespace in every
single call. Whoever is left out gets the same answer as for a namespace that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import Conflict, InvalidInput, NotFound
from agentstate.ids import MAX_NAME, validate_name
from agentstate.memory.facts.records import tenant_name
from agentstate.store.store import Store
from agentstate.store.tables import memory_namespaces, memory_shares
from agentstate.store.tables.base import db_time
from agentstate.store.upsert import insert_new

Role = Literal["reader", "writer"]


@dataclass(frozen=True, kw_only=True)
class Share:
    """One agent's part in a namespace."""

    namespace: str
    owner: str
    agent_id: str
    role: str
    accepted_at: datetime | None
    """None while the agent has not said yes."""


class Namespaces:
    """The shared namespaces of all agents. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, *, owner: str) -> None:
        """Make a namespace that `owner` may read and write; harmless to repeat.

        Raises:
            InvalidInput: a name is refused. Conflict: another agent owns a namespace of this name.
        """
        if len(validate_name(name, "namespace")) >= MAX_NAME:
            raise InvalidInput(f"the namespace {name[:40]!r}... has {len(name)} characters, one too many.")
        with self._store.transaction() as tx:
            insert_new(tx, memory_namespaces, [{"name": name, "owner": validate_name(owner)}])
            if _read_owner(tx.connection, name) != owner:
                raise Conflict(f"the namespace {name} belongs to another agent; choose another name.")

    def offer(self, name: str, agent_id: str, *, owner: str, role: Role = "reader") -> None:
        """Let `agent_id` read, or as a writer also write; it has to accept first. Offered again, the role changes.

        Raises:
            InvalidInput: the role is unknown. NotFound: `owner` owns no such namespace.
        """
        if role not in {"reader", "writer"}:
            raise InvalidInput(f"{role!r} is no role; there are reader and writer.")
        with self._store.transaction() as tx:
            _require_owner(tx.connection, name, owner)
            row = {"namespace": name, "agent_id": validate_name(agent_id), "role": role}
            if not insert_new(tx, memory_shares, [row]):
                tx.connection.execute(memory_shares.update().where(_share_condition(name, agent_id)).values(role=role))

    def accept(self, name: str, *, agent_id: str) -> None:
        """Take part in what was offered; raises NotFound when nothing was."""
        with self._store.transaction() as tx:
            accepted_at = sa.func.coalesce(memory_shares.c.accepted_at, db_time())
            done = tx.connection.execute(
                memory_shares.update().where(_share_condition(name, agent_id)).values(accepted_at=accepted_at)
            )
            if not done.rowcount:
                raise _no_access(name, agent_id)

    def end(self, name: str, agent_id: str, *, by: str) -> None:
        """End a share: the owner withdraws it, or the agent leaves. What it wrote stays.

        Raises:
            NotFound: `by` is neither the namespace's owner nor the agent itself.
        """
        with self._store.transaction() as tx:
            if by != agent_id:
                _require_owner(tx.connection, name, by)
            tx.connection.execute(memory_shares.delete().where(_share_condition(name, agent_id)))

    def shares(self, agent_id: str) -> list[Share]:
        """What `agent_id` takes part in, or is invited to, and the shares of what it owns."""
        mine = sa.or_(memory_shares.c.agent_id == agent_id, memory_namespaces.c.owner == agent_id)
        joined = memory_shares.join(memory_namespaces, memory_shares.c.namespace == memory_namespaces.c.name)
        names = ("namespace", "agent_id", "role", "accepted_at")
        query = sa.select(memory_namespaces.c.owner, *(memory_shares.c[name] for name in names)).select_from(joined)
        with self._store.read_connection() as connection:
            found = connection.execute(query.where(mine).order_by(memory_shares.c.namespace, memory_shares.c.agent_id))
            return [Share(**row) for row in found.mappings()]


def allowed_tenants(
    connection: Connection, agent_id: str, namespaces: Sequence[str], *, writing: bool = False
) -> tuple[str, ...]:
    """Under which names `agent_id` may read (or write): its own, and those of `namespaces`.

    Raises:
        NotFound: one of them is not there, not shared with the agent, or not accepted by it.
    """
    for name in namespaces:
        if not _may_use(connection, name, agent_id, writing=writing):
            raise _no_access(name, agent_id)
    return (agent_id, *(tenant_name(agent_id, name) for name in namespaces))


def _may_use(connection: Connection, name: str, agent_id: str, *, writing: bool) -> bool:
    if _read_owner(connection, name) == agent_id:
        return True
    share = memory_shares.c
    query = sa.select(share.role).where(_share_condition(name, agent_id), share.accepted_at.is_not(None))
    role = connection.execute(query).scalar_one_or_none()
    return role == "writer" or (role is not None and not writing)


def _read_owner(connection: Connection, name: str) -> str | None:
    query = sa.select(memory_namespaces.c.owner).where(memory_namespaces.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def _require_owner(connection: Connection, name: str, owner: str) -> None:
    if _read_owner(connection, name) != owner:
        raise NotFound(f"{owner} owns no namespace {name!r}. Nothing was changed.")


def _share_condition(name: str, agent_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(memory_shares.c.namespace == name, memory_shares.c.agent_id == agent_id)


def _no_access(name: str, agent_id: str) -> NotFound:
    return NotFound(
        f"{agent_id} takes no part in a namespace {str(name)[:130]!r}, or not in this way: its owner has to offer it "
        "and the agent to accept it. Nothing was changed."
    )
