"""One agent at one service: its state, the service's ledger and limits, and the guarantees of its operations.

Changes are operations (`agentstate.services.operations`), executed by `agent.effects.execute_once`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from agentstate.errors import InvalidInput
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.effects.verdicts import Guarantee
from agentstate.money.ledger.postings import balance_service
from agentstate.services.cache.reading import assess_quality, parse_funds
from agentstate.services.cache.source import read_state
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.limiter import ServiceLimits, declared_limits
from agentstate.services.operations.names import Service, parse_service
from agentstate.services.operations.registry import get_operation_class
from agentstate.services.operations.service_ledger import LedgerPage, read_ledger
from agentstate.services.wire import Body, micros_to_dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The guarantees of an operation in the dialect in use.

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
    """One agent at one service.

    Args:
        gateway: the way to the services, in whichever dialect.
        agent_id: the agent.
        service: the service's name; InvalidInput when there is none.
    """

    def __init__(self, gateway: Gateway, agent_id: str, service: str) -> None:
        self.agent_id = validate_name(agent_id)
        self.service = parse_service(service)
        self._gateway = gateway

    def capabilities(self, name: str) -> Capabilities:
        """Return the guarantees of an operation; raises InvalidInput when there is none of that name.

        Example:
            agent.services.casino.capabilities("bet").guarantee
        """
        operation = get_operation_class(self.service, name)
        return Capabilities(
            guarantee=operation.guarantee,
            reference=operation.reference,
            settle_s=operation.settle_window_s,
            serialised=operation.is_serialised(),
            offered=self._gateway.dialect.offers(
                gateway_route=operation.has_gateway_route, own_route=operation.has_own_route()
            ),
        )

    def read_state(self) -> State:
        """Ask the service for the agent's state.

        Raises:
            ServiceError: it does not answer, or not readably; nothing is known.

        Example:
            agent.services.casino.read_state().balances
        """
        as_of = self._gateway.now()
        body = read_state(self._gateway, self.agent_id, self.service)
        funds = parse_funds(self.service, body)
        cash = {} if funds.cash is None else {DEFAULT_CURRENCY: micros_to_dollars(funds.cash)}
        return State(
            service=self.service,
            balances=cash,
            worth=micros_to_dollars(funds.worth),
            quality=assess_quality(self.service, body)[0].value,
            as_of=as_of,
            body=body,
        )

    def ledger(self) -> LedgerPage:
        """Return the rows that the service shows of the account's ledger, put in order, and how far they are complete.

        Raises:
            InvalidInput: the service shows no ledger. ServiceError: it cannot be read.

        Example:
            agent.services.casino.ledger().rows
        """
        if balance_service(self.service) != Service.CASINO:
            raise InvalidInput(f"{self.service} shows no ledger; compare its balance and its history.")
        return read_ledger(self._gateway, self.agent_id)

    def limits(self) -> ServiceLimits:
        """Return the requests a minute and the amounts that the service is known to allow.

        Example:
            agent.services.casino.limits().per_address["bet"]
        """
        return declared_limits(self.service)
