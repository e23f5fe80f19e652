"""Operations in their older form, one stateless object with parameters by name, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self

from agentstate.errors import ServiceRejected
from agentstate.money.amounts import Money
from agentstate.money.effects.fingerprint import storable_params
from agentstate.money.effects.first_refusals import look_into_refusal
from agentstate.money.effects.operation import AgentService, Intent, Operation, OperationRegistry
from agentstate.money.effects.verdicts import Verdict
from agentstate.money.ledger.postings import Credit, Line


class StatelessOperation(Protocol):
    """One operation of a service, such as `casino.bet`, that is given its parameters with each call."""

    @property
    def name(self) -> str:
        """The name that is stored with each effect."""

    @property
    def service(self) -> str:
        """The service of the operation."""

    @property
    def guarantee(self) -> str:
        """A value of `Guarantee`."""

    def check(self, tag: str, **params: Any) -> Any:
        """Raise InvalidInput when a parameter is wrong. Sends nothing."""

    def call(self, gateway: Any, agent_id: str, tag: str, **params: Any) -> Any:
        """Do it, marked with `tag` where the service takes a mark; return the receipt."""

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
        """Return what the service shows before the call, where `verify` needs it."""

    def serial_key(self, params: Mapping[str, Any]) -> str | None:
        """Return the key of which one call is in flight at a time."""

    def hold(self, params: Mapping[str, Any]) -> Money | None:
        """Return the most that it may cost."""

    def postings(self, params: Mapping[str, Any], receipt: Any) -> Sequence[Line]:
        """Return what it moved for the agent."""

    def credits(self, params: Mapping[str, Any], receipt: Any) -> Sequence[Credit]:
        """Return what it moved for other agents."""


class NamedOperation(Operation[Any]):
    """A stateless operation with its parameters."""

    wrapped: ClassVar[StatelessOperation]
    settle_s = 0.0

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = storable_params(given)
        self.wrapped.check("to be checked", **self._given)

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> Self:
        """Make the operation of its parameters."""
        return cls(params)

    def params(self) -> Mapping[str, Any]:
        """Return the parameters."""
        return self._given

    def send(self, outside: Any, intent: Intent) -> Any:
        """Call once; a refusal that can be its own success is looked into."""
        try:
            return self.wrapped.call(outside, intent.agent_id, intent.remote_key, **self._given)
        except ServiceRejected as refused:
            if intent.baseline is None or refused.code not in getattr(self.wrapped, "already", ()):
                raise
            return look_into_refusal(self.name, refused, lambda: self.verify(outside, intent))

    def verify(self, outside: Any, intent: Intent) -> Verdict:
        """Look by the wrapped operation."""
        return self.wrapped.verify(
            outside,
            intent.agent_id,
            intent.remote_key,
            intent.params,
            intent.called_at,
            baseline=intent.baseline,
        )

    def read_baseline(self, outside: Any, agent_id: str) -> Any:
        """Read it by the wrapped operation."""
        return self.wrapped.baseline(outside, agent_id, self._given)

    def hold(self) -> Money | None:
        """Return the hold of the wrapped operation."""
        return self.wrapped.hold(self._given)

    def serial_key(self) -> str | None:
        """Return the serial key of the wrapped operation."""
        return self.wrapped.serial_key(self._given)

    def invalidates(self, agent_id: str) -> Sequence[AgentService]:
        """Return the agent, and the counterparty that its parameters name."""
        named = [self._given.get("counterparty"), self._given.get("to") if self.name == "casino.pay" else None]
        return [(agent, self.service) for agent in [agent_id, *(str(name) for name in named if name)]]

    def postings(self, receipt: Any) -> Sequence[Line]:
        """Return the lines of the wrapped operation."""
        return self.wrapped.postings(self._given, receipt)

    def credits(self, receipt: Any) -> Sequence[Credit]:
        """Return the credits of the wrapped operation."""
        return self.wrapped.credits(self._given, receipt)


class Operations(OperationRegistry):
    """A registry of stateless operations."""

    def __init__(self, operations: Iterable[StatelessOperation] = ()) -> None:
        super().__init__()
        self._wrapped: dict[str, StatelessOperation] = {}
        for operation in operations:
            self.add_stateless(operation)

    def add_stateless(self, operation: StatelessOperation) -> None:
        """Register `operation`; raises ConfigurationError as `add`."""
        if self._wrapped.setdefault(operation.name, operation) is operation and self.find(operation.name):
            return
        fields = {"name": operation.name, "service": str(operation.service), "wrapped": operation}
        fields["guarantee"] = operation.guarantee
        self.add(type("NamedOperation", (NamedOperation,), fields))
