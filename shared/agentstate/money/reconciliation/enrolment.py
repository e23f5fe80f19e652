"""Enrolment: the accounts of agents at the services, which are the list of the fleet."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from agentstate.errors import Conflict
from agentstate.ids import validate_name
from agentstate.money.ledger.postings import balance_service
from agentstate.money.reconciliation import cursors as recon_rows
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import service_accounts
from agentstate.store.upsert import insert_new


def is_enrolled(tx: Transaction, agent_id: str) -> bool:
    """Return whether `agent_id` has an account at any service."""
    mine = sa.select(service_accounts.c.service).where(service_accounts.c.agent_id == agent_id).limit(1)
    return tx.connection.execute(mine).one_or_none() is not None


def record_account(tx: Transaction, agent_id: str, service: str, account: str) -> bool:
    """Note that `agent_id` is `account` at `service`; False when that is known.

    An account that was recorded under the agent's own id, for want of a better one, is replaced by the real one.

    Raises:
        Conflict: the agent is known there under another account; nothing was changed.
    """
    row = {
        "agent_id": validate_name(agent_id),
        "service": validate_name(service, "service"),
        "account": validate_name(account, "account"),
        "created_at": db_time(),
    }
    if insert_new(tx, service_accounts, [row]):
        return True
    table = service_accounts.c
    mine = (table.agent_id == agent_id) & (table.service == service)
    stored = tx.connection.execute(sa.select(table.account).where(mine)).scalar_one()
    if stored not in {account, agent_id}:
        raise Conflict(f"{agent_id} is {stored} at {service}, not {account}. Nothing was changed.")
    if stored != account:
        tx.connection.execute(sa.update(service_accounts).where(mine).values(account=account))
    return False


class ServiceAccounts:
    """The accounts of the fleet at the services."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enrol(self, agent_id: str, service: str, account: str, *, tx: Transaction | None = None) -> bool:
        """Note that `agent_id` is `account` at `service`, and begin to reconcile it; False when that is known.

        Raises:
            Conflict: the agent is known there under another account; nothing was changed.
        """
        with self._store.transaction(tx) as opened:
            is_new = record_account(opened, agent_id, service, account)
            return recon_rows.insert_cursor(opened, agent_id, balance_service(service)) or is_new

    def list_accounts(self, agent_id: str) -> dict[str, str]:
        """Return the agent's account by service."""
        mine = service_accounts.c.agent_id == agent_id
        with self._store.read_connection() as connection:
            found = connection.execute(sa.select(service_accounts).where(mine).order_by(service_accounts.c.service))
            return {row.service: row.account for row in found}

    def list_agents(self, *, after: str = "", limit: int = 500) -> list[str]:
        """Return up to `limit` enrolled agents behind `after`, in one order that never changes."""
        agent = service_accounts.c.agent_id
        statement = sa.select(agent).distinct().where(agent > after).order_by(agent).limit(limit)
        with self._store.read_connection() as connection:
            return list(connection.execute(statement).scalars())

    def list_services(self, agents: Sequence[str]) -> dict[str, list[str]]:
        """Return the services of each of `agents`, by agent."""
        found: dict[str, list[str]] = {agent: [] for agent in agents}
        table = service_accounts.c
        statement = sa.select(table.agent_id, table.service).where(table.agent_id.in_(agents)).order_by(table.service)
        with self._store.read_connection() as connection:
            for row in connection.execute(statement):
                found[row.agent_id].append(row.service)
        return found
