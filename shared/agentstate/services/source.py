"""Where states come from when the cache has none: one reading of one account, with what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agentstate.services.entries import Quality
from agentstate.services.gateway import Gateway
from agentstate.services.names import Service
from agentstate.services.reading import read_state
from agentstate.services.wire import Body

FIRST_HAND = "hyperliquid"
"""The trading service names the source of its positions; any other than the venue is second-hand."""


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

    def read(self, agent_id: str, service: Service) -> Reading:
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

    def read(self, agent_id: str, service: Service) -> Reading:
        """The state, checked; second-hand when the service says so."""
        state = read_state(self._gateway, agent_id, service)
        source = state.get("source") if service is Service.TRADING else None
        if source is not None and source != FIRST_HAND:
            return Reading(state, Quality.FALLBACK, f"positions come from {str(source)[:40]!r}, not from the venue")
        return Reading(state)
