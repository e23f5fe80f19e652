"""The limits that the services are known to have: requests a minute, and amounts. They announce none in any header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from agentstate.services.operations.names import Service

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What a service allows.

    Attributes:
        per_address: requests a minute for one exact path and address, which all agents of an egress share; an operation
            or view that is not listed has none.
        per_agent: requests a minute for one agent.
        least: the smallest amount in dollars, by operation.
        most: the largest.
        share: the largest part of the balance, where that is the limit; it moves with the balance.
    """

    per_address: Mapping[str, int] = field(default_factory=dict)
    per_agent: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, Decimal] = field(default_factory=dict)
    most: Mapping[str, Decimal] = field(default_factory=dict)
    share: Mapping[str, Decimal] = field(default_factory=dict)


_KNOWN: Final[Mapping[str, ServiceLimits]] = MappingProxyType(
    {
        "casino": ServiceLimits(
            per_address={"bet": 60, "bets": 60, "export": 60, "register": 10, "join": 10, "withdraw": 5},
            per_agent={"bet": 60},
            least={"bet": Decimal("0.01"), "withdraw": Decimal(1)},
            most={"withdraw": Decimal(100_000)},
            share={"bet": Decimal("0.125")},
        ),
        "escrow": ServiceLimits(
            per_address={"create": 20, "complete": 30, "release": 30, "dispute": 10}, least={"create": Decimal("0.10")}
        ),
        "faucet": ServiceLimits(per_address={"claim": 5}),
        "trading": ServiceLimits(per_address={"open": 30, "close": 30, "join": 10}),
        "wallet": ServiceLimits(per_address={"swap": 30, "send": 20, "join": 10}),
        "domains": ServiceLimits(),
    }
)


def declared_limits(service: Service) -> ServiceLimits:
    """The limits of a service; none for one that is not known here."""
    return _KNOWN.get(service.value, ServiceLimits())
