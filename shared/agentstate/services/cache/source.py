"""Source of the cache's states: one reading of one account through the gateway, with its quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agentstate.services.cache.reading import Quality, assess_quality, validate_state
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations.names import Service
from agentstate.services.wire import Body


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
        """Return a fingerprint of the account that would be read, so that accounts never share an entry. No secret."""

    def read_state(self, agent_id: str, service: Service) -> Reading:
        """Read the state from the service; raises ServiceError."""


class GatewaySource:
    """Reads through the gateway, in either dialect."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def deadline_s(self) -> float:
        """Longest time of one reading, in seconds."""
        return self._gateway.deadline_s

    def tenant(self, agent_id: str, service: Service) -> str:
        """Return the fingerprint of the account and the key in use."""
        return self._gateway.mark(agent_id, service)

    def read_state(self, agent_id: str, service: Service) -> Reading:
        """Read and validate the state, and assess its quality."""
        state = read_state(self._gateway, agent_id, service)
        return Reading(state, *assess_quality(service, state))


def read_state(gateway: Gateway, agent_id: str, service: Service) -> Body:
    """Read the agent's state at a service, and check that it is this agent's and that its money can be read.

    Raises:
        ServiceError: as `Gateway.read`; ServiceAnswerInvalid when the state is another agent's or lacks a member.
    """
    return validate_state(agent_id, service, gateway.read(agent_id, service))
