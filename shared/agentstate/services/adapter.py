"""One interface for all services: the same verbs for an agent at the casino, the wallet, or a service of your own.

`execute` sends once and says what is certain: applied, rejected before any effect, or in doubt. What is in doubt is
`resolve`d by looking. Whoever needs that to survive crashes gives the operation to `agent.effects.execute_once`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from agentstate.errors import InvalidInput, ServiceInDoubt, ServiceRejected, ServiceUnreachable
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.effects.verdicts import Applied, Guarantee, Verdict
from agentstate.money.ledger.shared_balances import balance_service
from agentstate.services.cache.reading import assess_quality, parse_funds
from agentstate.services.cache.source import read_state
from agentstate.services.http.declared_limits import ServiceLimits, declared_limits
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros
from agentstate.services.operations.base import Baseline
from agentstate.services.operations.base import Operation as ServiceOperation
from agentstate.services.operations.booked import operations_of
from agentstate.services.operations.names import Service, service_named
from agentstate.services.operations.service_ledger import LedgerPage, read_ledger

NOT_SENT = "not_sent"
"""Code of a rejection by which nothing left this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What may be relied on of an operation.

    Attributes:
        guarantee: how a call that was cut off is settled.
        reference: where the service keeps our tag; None when nowhere.
        settle_s: seconds after the call at which "not there" is conclusive.
        serialised: whether one of its kind is in flight for an account, because two could not be told apart.
        offered: whether the dialect in use has a route for it.
    """

    guarantee: Guarantee
    reference: str | None
    settle_s: float
    serialised: bool
    offered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is to be done, under a name of the caller's."""

    tag: str
    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Certainly not done; `retry_after` seconds are to be waited when it was a limit."""

    code: str
    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """May have been done; what `resolve` needs to find out."""

    reason: str
    called_at: datetime
    baseline: Baseline | None


Outcome: TypeAlias = Applied | Rejected | InDoubt


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An agent's state at a service.

    Attributes:
        balances: free money by currency; empty where the service keeps none of its own.
        worth: what it adds to a portfolio, in dollars.
        quality: `live`, or `fallback` when the service says that it answers from rows of its own.
        as_of: just before it was asked.
        body: the state as it came, amounts as Decimal; positions, escrows, domains and cooldowns are in it.
    """

    service: Service
    balances: Mapping[str, Decimal]
    worth: Decimal
    quality: str
    as_of: datetime
    body: Body


class Adapter:
    """One agent at one service. Its operations are attributes: `adapter.bet`, `adapter.withdraw`.

    Args:
        gateway: the way to the services, in whichever dialect.
        agent_id: who.
        service: where; InvalidInput when there is none of that name.
    """

    def __init__(self, gateway: Gateway, agent_id: str, service: str) -> None:
        self.agent_id = validate_name(agent_id)
        self.service = service_named(service)
        self._gateway = gateway

    def __getattr__(self, name: str) -> ServiceOperation:
        found = None if name.startswith("_") else operations_of(self.service).get(name.rstrip("_"))
        if found is None:
            raise AttributeError(f"{self.service} has no operation {name!r}; it has {', '.join(self.operations())}.")
        return found

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.operations()]

    def operations(self) -> Mapping[str, ServiceOperation]:
        """Everything that can be done here, by name."""
        return operations_of(self.service)

    def capabilities(self, name: str) -> Capabilities:
        """What may be relied on of an operation; raises InvalidInput."""
        operation = self._named(name)
        return Capabilities(
            guarantee=operation.guarantee,
            reference=operation.reference,
            settle_s=operation.settle_s,
            serialised=operation.serial_key({}) is not None,
            offered=self._gateway.dialect.offers(self.service, operation.route),
        )

    def read_state(self) -> State:
        """What the service shows now.

        Raises:
            ServiceError: it does not answer, or not readably; nothing is known.
        """
        as_of = self._gateway.now()
        body = read_state(self._gateway, self.agent_id, self.service)
        funds = parse_funds(self.service, body)
        cash = {} if funds.cash is None else {DEFAULT_CURRENCY: from_micros(funds.cash)}
        return State(
            service=self.service,
            balances=cash,
            worth=from_micros(funds.worth),
            quality=assess_quality(self.service, body)[0].value,
            as_of=as_of,
            body=body,
        )

    def execute(self, intent: Intent) -> Outcome:
        """Do it, once. In doubt is the default; rejected is only what is known to have had no effect.

        Raises:
            InvalidInput: the operation or a parameter is wrong; nothing was sent.
            ServiceError: the service could not be read before the call; nothing was sent.
        """
        operation = self._named(intent.operation)
        operation.check(intent.tag, **intent.params)
        baseline = operation.baseline(self._gateway, self.agent_id, intent.params)
        called_at = self._gateway.now()
        try:
            return Applied(operation.call(self._gateway, self.agent_id, intent.tag, **intent.params))
        except ServiceRejected as error:
            return Rejected(code=error.code, reason=error.message, retry_after=error.retry_after)
        except ServiceUnreachable as error:
            return Rejected(code=NOT_SENT, reason=error.message)
        except ServiceInDoubt as error:
            return InDoubt(reason=error.message, called_at=called_at, baseline=baseline)

    def resolve(self, intent: Intent, doubt: InDoubt) -> Verdict:
        """Look whether it happened: Applied, Absent, or Unknown (which is for a person when no time settles it).

        Raises:
            ServiceError: the service cannot be read; nothing is known.
        """
        return self._named(intent.operation).verify(
            self._gateway, self.agent_id, intent.tag, intent.params, doubt.called_at, baseline=doubt.baseline
        )

    def ledger(self) -> LedgerPage:
        """The rows that the service shows of the account's ledger, put in order, with how far they are complete.

        Raises:
            InvalidInput: the service shows no ledger. ServiceError: it cannot be read.
        """
        if balance_service(self.service) != Service.CASINO:
            raise InvalidInput(f"{self.service} shows no ledger; compare its balance and its history.")
        return read_ledger(self._gateway, self.agent_id)

    def limits(self) -> ServiceLimits:
        """The requests a minute and the amounts that the service is known to allow."""
        return declared_limits(self.service)

    def _named(self, name: str) -> ServiceOperation:
        operations = self.operations()
        if name not in operations:
            raise InvalidInput(f"{self.service} has no operation {name!r}; it has {', '.join(operations)}.")
        return operations[name]
