"""Where states come from when the cache has none: one reading of one account, with what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agentstate.services.cache.quality import Quality, assess_quality
from agentstate.services.cache.reading import read_state
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.names import Service


@dataclass(frozen=True, slots=True)
class Reading:
    """A state as it was read: `quality` is live, fallback or partial, and `reason` says why it is not live."""

    state: Body
    quality: Quality = Quality.LIVE
    reason: str | None = None


class StateSource(Protocol):
    """Reads states from the services."""

    @property
    def deadline_s(self) -> float:
        """Longest time of one reading, in seconds."""

    def tenant(self, agent_id: str, service: Service) -> str:
        """A mark of the account that would be read; readers of another account never share an entry. No secret."""

    def read_state(self, agent_id: str, service: Service) -> Reading:
        """Ask the service; raises ServiceError."""


class GatewaySource:
    """Reads through the gateway, in whichever dialect."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def deadline_s(self) -> float:
        """Longest time of one reading, in seconds."""
        return self._gateway.deadline_s

    def tenant(self, agent_id: str, service: Service) -> str:
        """The mark of the account and the key in use."""
        return self._gateway.mark(agent_id, service)

    def read_state(self, agent_id: str, service: Service) -> Reading:
        """The state, checked; it tells itself whether it is in full and first-hand."""
        state = read_state(self._gateway, agent_id, service)
        return Reading(state, *assess_quality(service, state))
