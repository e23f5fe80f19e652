"""Versioned state in the durable store: each save is a new version, and states the version that it has seen.

Two writers who read the same version cannot both save: the second is told, and nothing is lost. What was saved stays
readable, as of any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from agentstate.errors import AgentStateError, Conflict, InvalidInput, NotFound, SchemaOutdated, TooLarge
from agentstate.ids import validate_name
from agentstate.money.amounts import Money
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.money.ledger.postings import Posted
from agentstate.state import codec, versions
from agentstate.state.agent_state import CURRENT_SCHEMA, AgentState
from agentstate.state.secrecy import refuse_secrets
from agentstate.state.versions import StateVersion
from agentstate.store.store import Store, Transaction

_log = logging.getLogger(__name__)

MAX_STATE_BYTES = 1_048_576
"""Largest state, as JSON in UTF-8."""

MAX_HISTORY = 1_000
"""Versions that one call of `history` gives at most."""


class AgentDB:
    """The states of all agents. Safe to share between threads; give `tx=` to save within a transaction of your own."""

    def __init__(self, store: Store, *, max_bytes: int = MAX_STATE_BYTES) -> None:
        self._store = store
        self._max_bytes = max_bytes

    def save_state(
        self,
        agent_id: str,
        state: AgentState | Mapping[str, Any],
        *,
        version: int | None = None,
        tx: Transaction | None = None,
    ) -> AgentState:
        """Save `state` as the version after the one that it was made from; durable at return (or when `tx` commits).

        Args:
            agent_id: whose.
            state: the state, or a blob of this or an older schema.
            version: the version seen, unset: that of `state`; a plain dict has seen none, which is right for the first
                save alone.
            tx: the caller's transaction.

        Returns:
            The state with its new version: change that one next.

        Raises:
            Conflict: another version is the newest by now; load it and make the change again.
            InvalidInput: the state is another agent's, holds what cannot be stored exactly, or what looks like a
                secret. TooLarge: it is over the limit of bytes.
            SchemaOutdated: the blob, or what is stored, is of a newer schema than this version knows.
        """
        validate_name(agent_id)
        if not isinstance(state, AgentState):
            mine = AgentState.migrate(state, agent_id=agent_id)
        elif state.agent_id == agent_id:
            mine = state
        else:
            raise InvalidInput(f"the state is of agent {state.agent_id}, not of {agent_id}. Nothing was stored.")
        seen = mine.version if version is None else version
        blob = mine.to_dict()
        refuse_secrets(blob)
        size = len(codec.dumps(blob).encode())
        if size > self._max_bytes:
            raise TooLarge(f"the state has {size:,} bytes, over the limit of {self._max_bytes:,}. Nothing was stored.")
        with self._store.transaction(tx) as opened:
            now = versions.lock_head(opened, agent_id)
            if now.schema_version > CURRENT_SCHEMA:
                raise SchemaOutdated(
                    f"the state of {agent_id} is stored in schema version {now.schema_version}, this version of "
                    f"agentstate knows up to {CURRENT_SCHEMA}. Update agentstate; nothing was stored."
                )
            if now.version != seen:
                raise _version_conflict(agent_id, seen, now.version)
            saved = versions.append_version(
                opened, agent_id, now, schema_version=CURRENT_SCHEMA, state=blob, cause=versions.SAVE
            )
            if saved is None:
                raise _version_conflict(agent_id, seen, versions.lock_head(opened, agent_id).version)
        return replace(mine, version=saved)

    def load_state(
        self, agent_id: str, *, as_of: datetime | None = None, version: int | None = None, tx: Transaction | None = None
    ) -> AgentState | None:
        """Return the newest state in the newest schema, None when there is none.

        Args:
            agent_id: whose.
            as_of: the state as it was saved at this time (timezone-aware).
            version: the state of this save.
            tx: the caller's transaction, to see what it has written.

        Raises:
            SchemaOutdated: it was written in a newer schema. InvalidInput: a time without zone.
        """
        validate_name(agent_id)
        if as_of is not None and as_of.tzinfo is None:
            raise InvalidInput(f"the time {as_of.isoformat()} has no time zone; give an aware datetime.")
        if tx is not None:
            found = versions.find_version(tx.connection, agent_id, as_of=as_of, version=version)
        else:
            with self._store.read_connection() as connection:
                found = versions.find_version(connection, agent_id, as_of=as_of, version=version)
        return None if found is None else AgentState.migrate(found.state, agent_id=agent_id, version=found.version)

    def update_state(
        self, agent_id: str, change: Callable[[AgentState], AgentState], *, tx: Transaction | None = None
    ) -> AgentState:
        """Save `change(newest state)`; other writers wait, so no conflict can arise.

        `change` is given an empty state when there is none. It is called within a transaction: keep it quick.

        Raises:
            Conflict: two first saves met; nothing was changed, call again. And as `save_state`.
        """
        validate_name(agent_id)
        with self._store.transaction(tx) as opened:
            versions.lock_head(opened, agent_id)
            now = self.load_state(agent_id, tx=opened) or AgentState(agent_id=agent_id)
            return self.save_state(agent_id, change(now), version=now.version, tx=opened)

    def list_versions(self, agent_id: str, *, limit: int = 20, before: int | None = None) -> list[StateVersion]:
        """Return the versions of an agent's state as they were written, newest first.

        Args:
            agent_id: whose.
            limit: 1 to `MAX_HISTORY`.
            before: only versions below this number; for the next page, the last one's of this page.
        """
        validate_name(agent_id)
        if not 1 <= limit <= MAX_HISTORY:
            raise InvalidInput(f"limit={limit} is refused: ask for 1 to {MAX_HISTORY} versions.")
        with self._store.read_connection() as connection:
            return versions.list_versions(connection, agent_id, limit=limit, before=before)

    def append_transaction(
        self,
        agent_id: str,
        event_type: str,
        amount_usdc: Decimal | Money | str | int,
        payload: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        service: str | None = None,
        tx: Transaction | None = None,
    ) -> Posted:
        """Append to the agent's ledger: above zero is money that came in, below zero money that went out.

        Args:
            agent_id: an agent whose state was saved before.
            event_type: such as `bet`.
            amount_usdc: an exact amount; zero and None are refused, since a ledger keeps what moved.
            payload: notes, kept with it.
            key: the caller's name for this transaction: a retry with the same key finds the first. Without one, every
                call is a new transaction.
            service: where; the wallet when unset.
            tx: the caller's transaction.

        Raises:
            NotFound: no state was ever saved for this agent. And as `TransactionLedger.append`.
        """
        ledger = TransactionLedger(self._store, agent_id)
        refuse_secrets(payload, "payload")
        amount = amount_usdc.amount if isinstance(amount_usdc, Money) else amount_usdc
        entry: dict[str, Any] = {"type": event_type, "amount_usdc": amount}
        if payload:
            entry["payload"] = dict(payload)
        if service is not None:
            entry["service"] = service
        with self._store.transaction(tx) as opened:
            if not versions.has_state(opened.connection, agent_id):
                raise NotFound(f"there is no state of agent {agent_id}; save one first. Nothing was posted.")
            return ledger.append(entry, key=key, tx=opened)


def _version_conflict(agent_id: str, seen: int, stored: int) -> Conflict:
    return Conflict(
        f"the state of {agent_id} is at version {stored}, this save has seen version {seen}. Nothing was changed; load "
        "the state, make the change again and save it."
    )


class AgentStateStore:
    """The versioned state of one agent; `agent.state`."""

    def __init__(self, store: Store, agent_id: str) -> None:
        self.agent_id = agent_id
        self._db = AgentDB(store)

    def load(self, *, as_of: datetime | None = None, version: int | None = None) -> AgentState | None:
        """Return the newest state, the one saved by `as_of`, or the one of a version; None when there is none."""
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
        """Return the versions as they were written, newest first."""
        return self._db.list_versions(self.agent_id, limit=limit, before=before)


@dataclass(frozen=True, slots=True)
class MigratedSlice:
    """Result of one slice: states migrated, refusals by agent with reasons, and the start of the next slice."""

    migrated: int
    refused: dict[str, str]
    next_after: str | None


def migrate_slice(store: Store, *, after: str = "", limit: int = 100) -> MigratedSlice:
    """Migrate the states of at most `limit` agents after `after`, each in a transaction of its own.

    A migrated state is a new version beside the old one. A save that comes in between wins, as it is in the newest
    schema anyway. A state that cannot be migrated is left as it is. `next_after` is None when these were the last.
    """
    with store.read_connection() as connection:
        agents = versions.list_outdated_agents(connection, CURRENT_SCHEMA, after=after, limit=limit)
    migrated, refused = 0, {}
    for agent_id in agents:
        try:
            with store.transaction() as tx:
                now, found = versions.lock_head(tx, agent_id), versions.find_version(tx.connection, agent_id)
                if found is None or now.schema_version >= CURRENT_SCHEMA:
                    continue
                blob = AgentState.migrate(found.state, agent_id=agent_id).to_dict()
                versions.append_version(
                    tx, agent_id, now, schema_version=CURRENT_SCHEMA, state=blob, cause=versions.MIGRATION
                )
            migrated += 1
        except AgentStateError as error:
            _log.warning("the stored state of %s cannot be migrated and was left as it is: %s", agent_id, error)
            refused[agent_id] = error.message
    return MigratedSlice(migrated, refused, agents[-1] if len(agents) == limit else None)
