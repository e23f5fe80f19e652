"""All operations by name, and adding a service: one call makes it known to effects, cache, reconciliation and workers.

A module of your own defines its operations, calls `add_service`, and is named in `AGENTSTATE_SERVICES_MODULES`, so that
every process imports it before it does anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from agentstate.errors import ConfigurationError, InvalidInput
from agentstate.money.effects.operation import OperationRegistry
from agentstate.services.cache.reading import Funds, register_funds_parser
from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.names import Service, declare_service
from agentstate.services.wire import Answer

OPERATIONS: Final = OperationRegistry()
"""Every operation of the services, by its name."""

OperationClass = type[ServiceOperation[Any]]
_classes: dict[str, OperationClass] = {}


def add_service(
    name: str,
    *,
    operations: Iterable[OperationClass],
    funds: Callable[[Answer], Funds],
    ttl_s: float = 30.0,
    balance_of: str | None = None,
) -> Service:
    """Make a service known to this process.

    Args:
        name: such as `lottery`; its operations are named `lottery.enter`.
        operations: the classes of what can be done there.
        funds: how the money is read from its state.
        ttl_s: seconds for which a reading of it counts as live.
        balance_of: the service whose balance it uses, when it keeps none of its own.

    Raises:
        ConfigurationError: the name of the service or of an operation is taken.
    """
    service = declare_service(name, ttl_s=ttl_s, balance_of=balance_of)
    register_funds_parser(service, funds)
    for operation in operations:
        add_operation(operation)
    return service


def add_operation(operation: OperationClass) -> None:
    """Register a class of operations; raises ConfigurationError when its name is taken or its service unknown."""
    if operation.service not in tuple(Service):
        raise ConfigurationError(f"operation {operation.name}: its service is not known; add that first.")
    OPERATIONS.add(operation)
    _classes[operation.name] = operation


def operation_classes(service: str | None = None) -> list[OperationClass]:
    """Return the classes of operations in the order in which they were added; of one service when named."""
    return [each for each in _classes.values() if service is None or each.service == service]


def get_operation_class(service: str, name: str) -> OperationClass:
    """Return the class of an operation, such as `bet` at the casino; raises InvalidInput when there is none."""
    if found := _classes.get(f"{service}.{name}"):
        return found
    names = ", ".join(each.route_name() for each in operation_classes(service))
    raise InvalidInput(f"{service} has no operation {name!r}; it has {names}.")


def load_service_modules(names: str) -> None:
    """Import the modules of a setting, separated by commas; each once.

    Raises:
        ConfigurationError: one cannot be imported.
    """
    for name in filter(None, (part.strip() for part in names.split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"AGENTSTATE_SERVICES_MODULES: {name} cannot be imported: {error}.") from error


for _operation in (
    casino.register, casino.join, casino.deposit, casino.bet, casino.pay, casino.withdraw, casino.daily,
    escrow.create, escrow.complete, escrow.release, escrow.dispute,
    faucet.claim,
    trading.join, trading.deposit, trading.open, trading.close, trading.limit, trading.cancel,
    domains.join, domains.deposit, domains.register, domains.renew,
    wallet.join, wallet.create, wallet.deposit, wallet.send, wallet.swap,
):  # fmt: skip
    add_operation(_operation)
