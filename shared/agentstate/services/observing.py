"""Observations: what the services show, in the terms of the books. The two readers that money is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from agentstate.clock import utc_now
from agentstate.errors import ServiceError
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.observations import Observation
from agentstate.services.amounts import from_micros
from agentstate.services.cache import StateCache
from agentstate.services.entries import CacheEntry
from agentstate.services.gateway import Gateway
from agentstate.services.names import service_named
from agentstate.services.reading import funds_of, read_state


class ServiceReader:
    """Reads a balance from the service itself, for reconciliation."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def read(self, agent_id: str, service: str) -> Observation:
        """What the service shows now; raises a ServiceError when it does not answer in full."""
        as_of = utc_now()
        named = service_named(service)
        funds = funds_of(named, read_state(self._gateway, agent_id, named))
        return Observation(service=service, balances=_balances(funds.cash), as_of=as_of)


class CacheReader:
    """Tells what was seen lately, for snapshots."""

    def __init__(self, cache: StateCache) -> None:
        self._cache = cache

    def seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        """The last observation of each service that there is one of; a service that is down is left out."""
        found = {service: self._entry(agent_id, service) for service in services}
        return {service: _observation(entry) for service, entry in found.items() if entry and entry.funds is not None}

    def _entry(self, agent_id: str, service: str) -> CacheEntry | None:
        try:
            return self._cache.get(agent_id, service)
        except ServiceError:
            return None


def _observation(entry: CacheEntry) -> Observation:
    funds = entry.funds
    return Observation(
        service=entry.service.value,
        balances=_balances(funds.cash if funds else None),
        as_of=entry.as_of or utc_now(),
        quality=entry.quality.value,
    )


def _balances(cash: int | None) -> dict[str, Decimal]:
    return {} if cash is None else {DEFAULT_CURRENCY: from_micros(cash)}
