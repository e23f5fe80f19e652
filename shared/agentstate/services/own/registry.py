"""What the services do not tell, from our own books: which escrows an agent made, and whose account an id is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa

from agentstate.money.effects.table import EffectState
from agentstate.store.store import Store
from agentstate.store.tables.money import effects
from agentstate.store.tables.portfolio import service_accounts

MOST = 500


class Registry(Protocol):
    """Our own record of the fleet."""

    def escrows(self, agent_id: str) -> Iterable[str]:
        """The ids of escrows that an agent made."""

    def agent(self, service: str, account: str) -> str | None:
        """The agent that is enrolled with an account at a service; None when it is nobody's of ours."""


class NoRegistry:
    """Knows nothing."""

    def escrows(self, agent_id: str) -> Iterable[str]:
        """None."""
        del agent_id
        return ()

    def agent(self, service: str, account: str) -> str | None:
        """Nobody."""
        del service, account
        return None


class StoreRegistry:
    """What the durable store has recorded."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def escrows(self, agent_id: str) -> Iterable[str]:
        """The newest 500 that the agent is known to have made."""
        made = (effects.c.agent_id == agent_id) & (effects.c.operation == "escrow.create")
        done = made & (effects.c.state == EffectState.SUCCEEDED)
        newest = sa.select(effects.c.outcome).where(done).order_by(effects.c.created_at.desc()).limit(MOST)
        with self._store.read_connection() as connection:
            outcomes = list(connection.execute(newest).scalars())
        return [str(outcome["value"]["reference"]) for outcome in outcomes if "reference" in outcome["value"]]

    def agent(self, service: str, account: str) -> str | None:
        """Whom the account was enrolled for."""
        table = service_accounts.c
        whose = sa.select(table.agent_id).where(table.service == service, table.account == account).limit(1)
        with self._store.read_connection() as connection:
            found: str | None = connection.execute(whose).scalar_one_or_none()
        return found
