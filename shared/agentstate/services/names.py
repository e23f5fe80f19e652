"""The six services, how long a reading of each stays fresh, and which readings one operation spoils."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from agentstate.errors import InvalidInput


class Service(StrEnum):
    """A financial service."""

    WALLET = "wallet"
    CASINO = "casino"
    TRADING = "trading"
    DOMAINS = "domains"
    FAUCET = "faucet"
    ESCROW = "escrow"


TTL_S: Final[Mapping[Service, float]] = MappingProxyType(
    {
        Service.WALLET: 60.0,
        Service.CASINO: 10.0,
        Service.TRADING: 30.0,
        Service.DOMAINS: 300.0,
        Service.FAUCET: 120.0,
        Service.ESCROW: 15.0,
    }
)
"""Seconds for which a reading counts as live."""

_ONE_BALANCE: Final = frozenset({Service.CASINO, Service.ESCROW, Service.FAUCET})


def spoiled_by(service: Service) -> frozenset[Service]:
    """The services whose readings an operation at `service` makes out of date.

    Casino, escrow and faucet keep one balance between them, so each spoils all three.
    """
    return _ONE_BALANCE if service in _ONE_BALANCE else frozenset({service})


def service_named(name: str) -> Service:
    """The service of that name; InvalidInput when there is none."""
    try:
        return Service(name)
    except ValueError:
        known = ", ".join(service.value for service in Service)
        raise InvalidInput(f"there is no service {name!r}; the services are {known}.") from None
