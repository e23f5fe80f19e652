"""Namespaces: memories that several agents share, offered by the owner and accepted by each other agent.

Nothing is shared by a name alone: the owner names the agent, the agent accepts, and then names the namespace in every
single call. An agent without access gets the same answer as for a namespace that does not exist.
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
    """One agent's access to a namespace."""

    namespace: str
    owner: str
    agent_id: str
    role: str
    accepted_at: datetime | None
    """None while the agent has not accepted."""


class Namespaces:
    """The shared namespaces of all agents. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, *, owner: str) -> None:
        """Create a namespace that `owner` may read and write; harmless to repeat.

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
                tx.connection.execute(memory_shares.update().where(_is_share(name, agent_id)).values(role=role))

    def accept(self, name: str, *, agent_id: str) -> None:
        """Accept an offer; raises NotFound when there is none."""
        with self._store.transaction() as tx:
            accepted_at = sa.func.coalesce(memory_shares.c.accepted_at, db_time())
            done = tx.connection.execute(
                memory_shares.update().where(_is_share(name, agent_id)).values(accepted_at=accepted_at)
            )
            if not done.rowcount:
                raise _no_access(name, agent_id)

    def end(self, name: str, agent_id: str, *, by: str) -> None:
        """End a share: the owner withdraws it, or the agent leaves. The memories that it wrote stay.

        Raises:
            NotFound: `by` is neither the namespace's owner nor the agent itself.
        """
        with self._store.transaction() as tx:
            if by != agent_id:
                _require_owner(tx.connection, name, by)
            tx.connection.execute(memory_shares.delete().where(_is_share(name, agent_id)))

    def shares(self, agent_id: str) -> list[Share]:
        """Return the shares that `agent_id` has or is offered, and those of the namespaces that it owns."""
        mine = sa.or_(memory_shares.c.agent_id == agent_id, memory_namespaces.c.owner == agent_id)
        joined = memory_shares.join(memory_namespaces, memory_shares.c.namespace == memory_namespaces.c.name)
        names = ("namespace", "agent_id", "role", "accepted_at")
        query = sa.select(memory_namespaces.c.owner, *(memory_shares.c[name] for name in names)).select_from(joined)
        with self._store.read_connection() as connection:
            found = connection.execute(query.where(mine).order_by(memory_shares.c.namespace, memory_shares.c.agent_id))
            return [Share(**row) for row in found.mappings()]


class AgentNamespaces:
    """The namespaces that one agent shares with others, `agent.namespaces`.

    Example:
        agent.namespaces.create("desk")
        agent.namespaces.offer("desk", "ag_8", role="writer")
        Agent("ag_8").namespaces.accept("desk")
    """

    def __init__(self, namespaces: Namespaces, agent_id: str) -> None:
        self._namespaces = namespaces
        self.agent_id = validate_name(agent_id)

    def create(self, name: str) -> None:
        """Create a namespace that the agent owns; harmless to repeat. Raises Conflict when another agent has it."""
        self._namespaces.create(name, owner=self.agent_id)

    def offer(self, name: str, to: str, *, role: Role = "reader") -> None:
        """Let agent `to` read a namespace of this agent, or as a writer also write; it has to accept first.

        Raises:
            InvalidInput: the role is unknown. NotFound: this agent owns no such namespace.
        """
        self._namespaces.offer(name, to, owner=self.agent_id, role=role)

    def accept(self, name: str) -> None:
        """Accept an offer; raises NotFound when there is none."""
        self._namespaces.accept(name, agent_id=self.agent_id)

    def leave(self, name: str) -> None:
        """Give up access; the memories that the agent wrote stay."""
        self._namespaces.end(name, self.agent_id, by=self.agent_id)

    def withdraw(self, name: str, agent_id: str) -> None:
        """End another agent's access to a namespace of this agent; raises NotFound when it owns no such namespace."""
        self._namespaces.end(name, agent_id, by=self.agent_id)

    def list(self) -> list[Share]:
        """Return the shares that the agent has or is offered, and those of the namespaces that it owns."""
        return self._namespaces.shares(self.agent_id)


def allowed_tenants(
    connection: Connection, agent_id: str, namespaces: Sequence[str], *, writing: bool = False
) -> tuple[str, ...]:
    """Return the tenants that `agent_id` may read (or write): itself, and those of `namespaces`.

    Raises:
        NotFound: one of them does not exist, is not shared with the agent, or was not accepted by it.
    """
    share = memory_shares.c
    for name in namespaces:
        if _read_owner(connection, name) != agent_id:
            query = sa.select(share.role).where(_is_share(name, agent_id), share.accepted_at.is_not(None))
            role = connection.execute(query).scalar_one_or_none()
            if role is None or (writing and role != "writer"):
                raise _no_access(name, agent_id)
    return (agent_id, *(tenant_name(agent_id, name) for name in namespaces))


def _read_owner(connection: Connection, name: str) -> str | None:
    query = sa.select(memory_namespaces.c.owner).where(memory_namespaces.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def _require_owner(connection: Connection, name: str, owner: str) -> None:
    if _read_owner(connection, name) != owner:
        raise NotFound(f"{owner} owns no namespace {name!r}. Nothing was changed.")


def _is_share(name: str, agent_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(memory_shares.c.namespace == name, memory_shares.c.agent_id == agent_id)


def _no_access(name: str, agent_id: str) -> NotFound:
    return NotFound(
        f"{agent_id} has no access to a namespace {str(name)[:130]!r}, or not in this way: its owner has to offer it "
        "and the agent to accept it. Nothing was changed."
    )
