"""Operations on the outside by name, so that a worker can settle what another process began.

A stored effect knows its operation only by name; the registry leads from there to the code that calls, looks and books.
The code belongs to whoever talks to the service; it is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from agentstate.errors import ConfigurationError
from agentstate.money.amounts import Money
from agentstate.money.effects.verdicts import Guarantee, Verdict
from agentstate.money.ledger.postings import Credit, Line


class Operation(Protocol):
    """One operation of a service, such as `casino.bet`."""

    @property
    def name(self) -> str:
        """The name that is stored with each effect; never changes its meaning."""

    @property
    def service(self) -> str:
        """Where it happens."""

    @property
    def guarantee(self) -> str:
        """A value of `Guarantee`."""

    def check(self, tag: str, **params: Any) -> Any:
        """Raise InvalidInput when a parameter is wrong. Sends nothing."""

    def call(self, gateway: Any, agent_id: str, tag: str, **params: Any) -> Any:
        """Do it, marked with `tag` where the service takes a mark; return the receipt.

        Raises ServiceUnreachable when it was certainly not sent, ServiceRejected when it was certainly refused;
        whatever else it raises leaves the effect in doubt.
        """

    def verify(
        self,
        gateway: Any,
        agent_id: str,
        tag: str,
        params: Mapping[str, Any],
        called_at: datetime,
        *,
        baseline: Any = None,
    ) -> Verdict:
        """Look whether it happened, changing nothing."""

    def baseline(self, gateway: Any, agent_id: str, params: Mapping[str, Any]) -> Any:
        """What the service shows before the call, where `verify` needs it; None else."""

    def serial_key(self, params: Mapping[str, Any]) -> str | None:
        """Calls of one agent with the same key are never in flight together; None where any number may be."""

    def hold(self, params: Mapping[str, Any]) -> Money | None:
        """The most that it may cost, to be held from the free money before; None when that is not known."""

    def postings(self, params: Mapping[str, Any], receipt: Any) -> Sequence[Line]:
        """What it moved for the agent, written as if no money had been held."""

    def credits(self, params: Mapping[str, Any], receipt: Any) -> Sequence[Credit]:
        """What it moved for other agents."""


class Operations:
    """The operations by name."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._by_name: dict[str, Operation] = {}
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> None:
        """Register `operation`; raises ConfigurationError when its name is taken by another or its class unknown."""
        if self._by_name.setdefault(operation.name, operation) is not operation:
            raise ConfigurationError(f"two operations are named {operation.name!r}.")
        if operation.guarantee not in set(Guarantee):
            raise ConfigurationError(f"operation {operation.name!r}: unknown guarantee {operation.guarantee!r}.")

    def get(self, name: str) -> Operation | None:
        """The operation called `name`, None when this process does not know it."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._by_name)
