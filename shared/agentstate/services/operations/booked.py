"""All operations by name, so that a worker can settle what another process began; open for those of other services."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from agentstate.errors import ConfigurationError, InvalidInput
from agentstate.money.effects.operations import Operations
from agentstate.services.operations import (
    casino,
    casino_transfers,
    domains,
    escrow,
    faucet,
    joining,
    trading,
    trading_orders,
    wallet,
)
from agentstate.services.operations.base import Operation
from agentstate.services.operations.names import Service

_known: dict[str, Operation] = {}

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(_known)
"""Every operation that can be called, by its name."""


def add_operation(operation: Operation) -> None:
    """Make an operation known; raises ConfigurationError when its name is another's or its service unknown."""
    if operation.name.partition(".")[0] not in tuple(Service):
        raise ConfigurationError(f"operation {operation.name}: its service is not known; add that first.")
    if _known.setdefault(operation.name, operation) is not operation:
        raise ConfigurationError(f"two operations are named {operation.name!r}.")


def operation_named(name: str) -> Operation:
    """The operation of that name; InvalidInput when there is none."""
    if name not in OPERATIONS:
        raise InvalidInput(f"there is no operation {name!r}; there are {', '.join(OPERATIONS)}.")
    return OPERATIONS[name]


def operations_of(service: str) -> dict[str, Operation]:
    """The operations of a service, by the part of their name behind the dot."""
    return {operation.route: operation for operation in OPERATIONS.values() if operation.service == service}


def booked_operations() -> Operations:
    """All operations for effects and their workers."""
    return Operations(OPERATIONS.values())


for _operation in (
    casino.register, casino.deposit, casino.bet,
    casino_transfers.pay, casino_transfers.withdraw, casino_transfers.daily,
    escrow.create, escrow.complete, escrow.release, escrow.dispute,
    faucet.claim,
    *joining.all_of_them,
    trading.deposit, trading.open_, trading.close, trading_orders.limit, trading_orders.cancel,
    domains.deposit, domains.register, domains.renew,
    wallet.create, wallet.deposit, wallet.send, wallet.swap,
):  # fmt: skip
    add_operation(_operation)
