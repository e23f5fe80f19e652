"""All operations by name, so that a worker can settle what another process began."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from agentstate.errors import InvalidInput
from agentstate.services import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operation import Operation

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        operation.name: operation
        for operation in (
            casino.register, casino.deposit, casino.bet,
            escrow.create, escrow.complete, escrow.release, escrow.dispute,
            faucet.claim,
            trading.deposit, trading.open_, trading.close,
            domains.deposit, domains.register,
            wallet.create, wallet.deposit, wallet.send,
        )
    }
)  # fmt: skip
"""Every operation that can be called, by its name."""


def operation_named(name: str) -> Operation:
    """The operation of that name; InvalidInput when there is none."""
    if name not in OPERATIONS:
        raise InvalidInput(f"there is no operation {name!r}; there are {', '.join(OPERATIONS)}.")
    return OPERATIONS[name]
