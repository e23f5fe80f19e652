"""Namespaces: memories that several agents share, offered by the owner and accepted by each other agent.

Nothing is shared by a name alone: the owner names the agent, the agent accepts, and then names the namespace in every
single call. An agent without access gets the same answer as for a namespace that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import Conflict, InvalidInput, NotFound
from agentstate.ids import MAX_NAME, shorten_repr, validate_name
from agentstate.memory.facts.records import tenant_name
from agentstate.memory.facts.texts import check_list
from agentstate.store.store import Store
from agentstate.store.tables import memory_namespaces, memory_shares
from agentstate.store.tables.base import db_time
from agentstate.store.upsert import insert_new

Role = Literal["reader", "writer"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, kw_only=True)
class Share:
    """One agent's access to a namespace."""

    namespace: str
    owner: str
    agent_id: str
    role: str
    accepted_at: datetime | None
    """None while the agent has not accepted."""


class AgentNamespaces:
    """The namespaces that one agent shares with others, `agent.namespaces`. Safe to share between threads.

    Example:
        agent.namespaces.create("desk")
        agent.namespaces.offer("desk", "ag_8", role="writer")
        Agent("ag_8").namespaces.accept("desk")
    """

    def __init__(self, store: Store, agent_id: str) -> None:
        self._store = store
        self.agent_id = validate_name(agent_id)

    def create(self, name: str) -> None:
        """Create a namespace that the agent owns; harmless to repeat.

        Raises:
            InvalidInput: the name is refused. Conflict: another agent owns a namespace of this name.
        """
        if len(validate_name(name, "namespace")) >= MAX_NAME:
            raise InvalidInput(f"the namespace {name[:40]!r}... has {len(name)} characters, one too many.")
        with self._store.transaction() as tx:
            insert_new(tx, memory_namespaces, [{"name": name, "owner": self.agent_id}])
            if _read_owner(tx.connection, name) != self.agent_id:
                raise Conflict(f"the namespace {name} belongs to another agent; choose another name.")

    def offer(self, name: str, to: str, *, role: Role = "reader") -> None:
        """Let agent `to` read a namespace of this agent, or as a writer also write; it has to accept first.

        Offered again, the role changes.

        Raises:
            InvalidInput: the role is unknown. NotFound: this agent owns no such namespace.
        """
        if role not in ROLES:
            raise InvalidInput(f"the role is {shorten_repr(role)}; give reader or writer. Nothing was changed.")
        row = {"namespace": validate_name(name, "namespace"), "agent_id": validate_name(to), "role": role}
        with self._store.transaction() as tx:
            _require_owner(tx.connection, name, self.agent_id)
            if not insert_new(tx, memory_shares, [row]):
                tx.connection.execute(memory_shares.update().where(_is_share(name, to)).values(role=role))

    def accept(self, name: str) -> None:
        """Accept an offer; raises NotFound when there is none."""
        mine = _is_share(validate_name(name, "namespace"), self.agent_id)
        with self._store.transaction() as tx:
            accepted_at = sa.func.coalesce(memory_shares.c.accepted_at, db_time())
            if not tx.connection.execute(memory_shares.update().where(mine).values(accepted_at=accepted_at)).rowcount:
                raise _no_access(name, self.agent_id)

    def leave(self, name: str) -> None:
        """Give up access; the memories that the agent wrote stay."""
        with self._store.transaction() as tx:
            mine = _is_share(validate_name(name, "namespace"), self.agent_id)
            tx.connection.execute(memory_shares.delete().where(mine))

    def withdraw(self, name: str, agent_id: str) -> None:
        """End another agent's access to a namespace of this agent; raises NotFound when it owns no such namespace."""
        share = _is_share(validate_name(name, "namespace"), validate_name(agent_id))
        with self._store.transaction() as tx:
            if agent_id != self.agent_id:
                _require_owner(tx.connection, name, self.agent_id)
            tx.connection.execute(memory_shares.delete().where(share))

    def list(self) -> list[Share]:
        """Return the shares that the agent has or is offered, and those of the namespaces that it owns."""
        mine = sa.or_(memory_shares.c.agent_id == self.agent_id, memory_namespaces.c.owner == self.agent_id)
        joined = memory_shares.join(memory_namespaces, memory_shares.c.namespace == memory_namespaces.c.name)
        names = ("namespace", "agent_id", "role", "accepted_at")
        query = sa.select(memory_namespaces.c.owner, *(memory_shares.c[name] for name in names)).select_from(joined)
        with self._store.read_connection() as connection:
            found = connection.execute(query.where(mine).order_by(memory_shares.c.namespace, memory_shares.c.agent_id))
            return [Share(**row) for row in found.mappings()]


def allowed_tenants(
    connection: Connection, agent_id: str, namespaces: Sequence[str], *, writing: bool = False
) -> tuple[str, ...]:
    """Return the tenants that `agent_id` may read (or write): itself, and those of `namespaces`.

    Raises:
        NotFound: one of them does not exist, is not shared with the agent, or was not accepted by it.
    """
    share = memory_shares.c
    names = check_list(namespaces, "namespaces", "a list of the namespaces' names") if namespaces != () else []
    for name in names:
        if _read_owner(connection, validate_name(name, "namespaces")) != agent_id:
            query = sa.select(share.role).where(_is_share(name, agent_id), share.accepted_at.is_not(None))
            role = connection.execute(query).scalar_one_or_none()
            if role is None or (writing and role != "writer"):
                raise _no_access(name, agent_id)
    return (agent_id, *(tenant_name(agent_id, name) for name in names))


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
