"""The dialect of the services' own routes: which translation leads to and from each view and operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from agentstate.errors import ConfigurationError, CredentialMissing, ServiceAnswerInvalid, ServiceError, ServiceInDoubt
from agentstate.services.http.dialect import Instruction, marked
from agentstate.services.http.exchange import Exchange, doubt_error
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.names import Service
from agentstate.services.own import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.own.desk import Desk
from agentstate.services.own.registry import NoRegistry, Registry
from agentstate.services.own.services_file import URLS, ServicesFile
from agentstate.settings import Settings

View: TypeAlias = Callable[[Desk, Mapping[str, str]], Awaitable[Body]]
Act: TypeAlias = Callable[[Desk, Mapping[str, Any]], Awaitable[Body]]

_views: dict[tuple[str, str], View] = {}
_acts: dict[tuple[str, str], Act] = {}


def add_routes(service: str, views: Mapping[str, View], operations: Mapping[str, Act]) -> None:
    """Say how a service's views and operations are asked for at its own routes."""
    _views.update({(service, name): view for name, view in views.items()})
    _acts.update({(service, name): act for name, act in operations.items()})


class OwnRoutes:
    """The services' own routes, by a services file.

    Args:
        file: addresses, accounts, references to credentials.
        registry: what our own books know and the services do not tell: whose escrows and whose accounts are which.
    """

    name = "services"

    def __init__(self, file: ServicesFile, registry: Registry | None = None) -> None:
        self._file = file
        self._registry: Registry = registry or NoRegistry()
        self._escrows = escrow.EscrowList(self._registry)

    @classmethod
    def from_settings(cls, settings: Settings, registry: Registry | None = None) -> OwnRoutes:
        """The dialect that the settings describe; raises ConfigurationError."""
        if settings.services_file is None:
            raise ConfigurationError("AGENTSTATE_SERVICES_FILE is not set; the services' own routes need it.")
        return cls(ServicesFile(settings.services_file), registry)

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses of the file."""
        return self._file.urls

    def mark(self, agent_id: str, service: Service) -> str:
        """Of the account and its key; of the address alone where the agent has none."""
        place = self._file.url(service) if service.value in URLS else service.value
        try:
            return marked(f"{place}|{self._file.account(agent_id, service)}", self._file.key(agent_id, service))
        except CredentialMissing:
            return marked(place, "")

    def offers(self, service: Service, operation: str) -> bool:
        """Whether the service has a route for it."""
        return (service.value, operation) in _acts

    async def read(
        self, exchange: Exchange, agent_id: str, service: Service, view: str, query: Mapping[str, str]
    ) -> Body:
        """A view, from as many reads as it takes."""
        desk = Desk(exchange, self._file, agent_id, service, registry=self._registry)
        if (service.value, view) == ("escrow", "state"):
            return await self._escrows.state(desk)
        if (service.value, view) not in _views:
            raise ServiceAnswerInvalid(f"{service} does not show `{view}` at its own routes. Nothing was asked.")
        return await _views[service.value, view](desk, query)

    async def act(self, exchange: Exchange, asked: Instruction) -> Body:
        """An operation: one POST, and what it takes to tell the whole of its answer."""
        desk = Desk(exchange, self._file, asked.agent_id, asked.service, registry=self._registry, asked=asked)
        try:
            return await _acts[asked.service.value, asked.operation](desk, asked.body)
        except ServiceError as error:
            if desk.acted and not isinstance(error, ServiceInDoubt):
                raise doubt_error(asked.what, error.message) from error
            raise
        except ConfigurationError as error:
            if desk.acted:
                raise doubt_error(asked.what, error.message) from error
            raise CredentialMissing(f"{error.message} Nothing was sent.") from error


for _service, _routes in (
    ("casino", casino), ("escrow", escrow), ("faucet", faucet), ("trading", trading), ("wallet", wallet),
    ("domains", domains),
):  # fmt: skip
    add_routes(_service, _routes.VIEWS, _routes.OPERATIONS)
