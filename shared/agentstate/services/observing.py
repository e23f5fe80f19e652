"""Readers between services and books: balances for reconciliation and snapshots, and our record of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.effects.table import EffectState
from agentstate.money.reconciliation.enrolment import record_account
from agentstate.money.reconciliation.observations import Observation
from agentstate.services.cache.reading import Funds, Quality, assess_quality, parse_funds
from agentstate.services.cache.source import read_state
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import REGISTERED_AT
from agentstate.services.operations.names import parse_service
from agentstate.services.wire import micros_to_dollars
from agentstate.store.store import Store
from agentstate.store.tables.money import effects, service_accounts

_MOST_ESCROWS = 500
_IN_FULL = frozenset({Quality.LIVE, Quality.STALE})


class GatewayReader:
    """Reads balances from the services themselves.

    Args:
        gateway: the way to the services.
        clock: present time, UTC.
    """

    def __init__(self, gateway: Gateway, clock: Clock = utc_now) -> None:
        self._gateway = gateway
        self._clock = clock

    def read_balance(self, agent_id: str, service: str) -> Observation:
        """Ask the service for its balances.

        Raises:
            ServiceError: it does not answer, or not readably. InvalidInput: there is no such service.
        """
        as_of, named = self._clock(), parse_service(service)
        state = read_state(self._gateway, agent_id, named)
        funds, (quality, _) = parse_funds(named, state), assess_quality(named, state)
        if funds.cash is None:
            raise ServiceAnswerInvalid(f"{service} has no balance of its own. Nothing was compared.")
        return replace(_build_observation(service, funds, as_of), quality=quality.value)


class CacheReader:
    """Reads balances from the cache, without asking any service.

    Args:
        cache: the state cache.
    """

    def __init__(self, cache: StateCache) -> None:
        self._cache = cache

    def read_last_seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        """Return the last full reading of each service, however old; services without one are left out."""
        entries = {service: self._cache.peek(agent_id, service) for service in services}
        return {
            service: _build_observation(service, entry.funds, entry.as_of)
            for service, entry in entries.items()
            if entry.quality in _IN_FULL and entry.funds is not None and entry.as_of is not None
        }


def _build_observation(service: str, funds: Funds, as_of: datetime) -> Observation:
    cash = {} if funds.cash is None else {DEFAULT_CURRENCY: micros_to_dollars(funds.cash)}
    return Observation(
        service=service, balances=cash, worth={DEFAULT_CURRENCY: micros_to_dollars(funds.worth)}, as_of=as_of
    )


class StoredAccounts:
    """Accounts and escrows as the durable store has recorded them; for the services' own routes.

    Args:
        store: the durable store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def find_escrows(self, agent_id: str) -> Iterable[str]:
        """Return the newest 500 escrows that the agent is known to have made."""
        done = (effects.c.agent_id == agent_id) & (effects.c.operation == "escrow.create")
        done &= effects.c.state == EffectState.SUCCEEDED
        newest = sa.select(effects.c.outcome).where(done).order_by(effects.c.created_at.desc()).limit(_MOST_ESCROWS)
        with self._store.read_connection() as connection:
            outcomes = list(connection.execute(newest).scalars())
        return [str(outcome["value"]["reference"]) for outcome in outcomes if "reference" in outcome["value"]]

    def find_agent(self, service: str, account: str) -> str | None:
        """Return the agent that the account is recorded for, at any service that shares its registration."""
        table = service_accounts.c
        return self._find_first(
            table.agent_id, table.service.in_(_registered_together(service)), table.account == account
        )

    def find_account(self, service: str, agent_id: str) -> str | None:
        """Return the account that is recorded for an agent, at any service that shares its registration."""
        table = service_accounts.c
        return self._find_first(
            table.account, table.service.in_(_registered_together(service)), table.agent_id == agent_id
        )

    def record_account(self, service: str, agent_id: str, account: str) -> None:
        """Record an account; the agent is one of the fleet from then on, but not reconciled until it is enrolled."""
        with self._store.transaction() as tx:
            record_account(tx, agent_id, service, account)

    def _find_first(self, column: Any, *conditions: sa.ColumnElement[bool]) -> str | None:
        with self._store.read_connection() as connection:
            found: str | None = connection.execute(sa.select(column).where(*conditions).limit(1)).scalar_one_or_none()
        return found


def _registered_together(service: str) -> list[str]:
    """Return all services with the account of `service`."""
    home = REGISTERED_AT.get(service, service)
    return [home, *(name for name, other in REGISTERED_AT.items() if other == home)]
