"""What the services show, in the terms of the books: fresh for reconciliation, from the cache for snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.reconciliation.observations import Observation
from agentstate.services.cache.reading import Funds, Quality, assess_quality, parse_funds
from agentstate.services.cache.source import read_state
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations.amounts import from_micros
from agentstate.services.operations.names import service_named

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
        """What the service shows now.

        Raises:
            ServiceError: it does not answer, or not readably. InvalidInput: there is no such service.
        """
        as_of, named = self._clock(), service_named(service)
        state = read_state(self._gateway, agent_id, named)
        funds, (quality, _) = parse_funds(named, state), assess_quality(named, state)
        if funds.cash is None:
            raise ServiceAnswerInvalid(f"{service} has no balance of its own. Nothing was compared.")
        return replace(_observed(service, funds, as_of), quality=quality.value)


class CacheReader:
    """Tells what the cache holds, without asking any service.

    Args:
        cache: the state cache.
    """

    def __init__(self, cache: StateCache) -> None:
        self._cache = cache

    def read_last_seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        """The last reading of each of `services` that there is one of in full, however old."""
        entries = {service: self._cache.peek(agent_id, service) for service in services}
        return {
            service: _observed(service, entry.funds, entry.as_of)
            for service, entry in entries.items()
            if entry.quality in _IN_FULL and entry.funds is not None and entry.as_of is not None
        }


def _observed(service: str, funds: Funds, as_of: datetime) -> Observation:
    cash = {} if funds.cash is None else {DEFAULT_CURRENCY: from_micros(funds.cash)}
    return Observation(service=service, balances=cash, worth={DEFAULT_CURRENCY: from_micros(funds.worth)}, as_of=as_of)
