"""Adding a service: one call makes it known to effects, cache, portfolio, reconciliation and workers alike.

A module of your own defines its operations, calls `add`, and is named in `AGENTSTATE_SERVICES_MODULES`, so that every
process imports it before it does anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agentstate.errors import ConfigurationError
from agentstate.services.cache.reading import Funds, register_funds_parser
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Operation
from agentstate.services.operations.booked import add_operation
from agentstate.services.operations.names import Service, add_service
from agentstate.services.own.dialect import add_routes


def add(
    name: str,
    *,
    operations: Iterable[Operation],
    funds: Callable[[Answer], Funds],
    ttl_s: float = 30.0,
    balance_of: str | None = None,
    views: Mapping[str, Any] | None = None,
    routes: Mapping[str, Any] | None = None,
) -> Service:
    """Make a service known to this process.

    Args:
        name: such as `lottery`; its operations are named `lottery.enter`.
        operations: what can be done there.
        funds: how the money is read from its state.
        ttl_s: seconds for which a reading of it counts as live.
        balance_of: the service whose balance it uses, when it keeps none of its own.
        views: by name, how its views are read at its own routes; the unified gateway needs none.
        routes: by name, how its operations are asked for there.

    Raises:
        ConfigurationError: the name of the service or of an operation is taken.
    """
    service = add_service(name, ttl_s=ttl_s, balance_of=balance_of)
    register_funds_parser(service, funds)
    for operation in operations:
        add_operation(operation)
    add_routes(name, views or {}, routes or {})
    return service


def load_modules(names: str) -> None:
    """Import the modules of a setting, separated by commas; each once.

    Raises:
        ConfigurationError: one cannot be imported.
    """
    for name in filter(None, (part.strip() for part in names.split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"AGENTSTATE_SERVICES_MODULES: {name} cannot be imported: {error}.") from error
