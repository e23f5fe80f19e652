"""The state of one agent between its sessions, in versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from agentstate.state.agent_db import AgentDB
from agentstate.state.agent_state import AgentState
from agentstate.state.versions import StateVersion
from agentstate.store.store import Store, Transaction


class AgentStateStore:
    """The versioned state of one agent; `agent.state`."""

    def __init__(self, store: Store, agent_id: str) -> None:
        self.agent_id = agent_id
        self._db = AgentDB(store)

    def load(self, *, as_of: datetime | None = None, version: int | None = None) -> AgentState | None:
        """The newest state, the one that was saved by `as_of`, or the one of a version; None when there is none."""
        return self._db.load_state(self.agent_id, as_of=as_of, version=version)

    def save(
        self, state: AgentState | Mapping[str, Any], *, version: int | None = None, tx: Transaction | None = None
    ) -> AgentState:
        """Save a state; raises Conflict when another version than the one it was made from is the newest."""
        return self._db.save_state(self.agent_id, state, version=version, tx=tx)

    def update(self, change: Callable[[AgentState], AgentState], *, tx: Transaction | None = None) -> AgentState:
        """Save the state that `change` returns for the newest one, an empty one when there is none."""
        return self._db.update_state(self.agent_id, change, tx=tx)

    def history(self, *, limit: int = 20, before: int | None = None) -> list[StateVersion]:
        """The versions as they were written, newest first."""
        return self._db.list_versions(self.agent_id, limit=limit, before=before)
