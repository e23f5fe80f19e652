"""The dialect of the services' own routes: every service at its own address, with an account and a key per agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentstate.errors import ConfigurationError, CredentialMissing, ServiceError, ServiceInDoubt
from agentstate.services.http.dialect import Instruction, hash_credential
from agentstate.services.http.exchange import Exchange, doubt_error
from agentstate.services.http.json_wire import Body
from agentstate.services.http.own_request import KnownAccounts, NoKnownAccounts, OwnRequest, find_own_view
from agentstate.services.http.services_file import URLS, ServicesFile
from agentstate.services.operations.names import Service


class OwnRoutes:
    """The services' own routes, by a services file.

    Args:
        file: addresses, accounts, references to credentials.
        accounts: what our own books know of accounts and escrows.
    """

    name = "services"

    def __init__(self, file: ServicesFile, accounts: KnownAccounts | None = None) -> None:
        self._file = file
        self._accounts: KnownAccounts = accounts or NoKnownAccounts()
        self._ended_escrows: dict[str, Body] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses of the file."""
        return self._file.urls

    def mark(self, agent_id: str, service: Service) -> str:
        """Return a hash of the account and its key; of the address alone where the agent has none."""
        place = self._file.get_url(service) if service.value in URLS else service.value
        try:
            account, key = self._file.get_account(agent_id, service), self._file.get_key(agent_id, service)
        except CredentialMissing:
            return hash_credential(place, "")
        return hash_credential(f"{place}|{account}", key)

    def offers(self, *, gateway_route: bool, own_route: bool) -> bool:
        """Return whether the service has a route."""
        del gateway_route
        return own_route

    async def read(
        self, exchange: Exchange, agent_id: str, service: Service, view: str, query: Mapping[str, str]
    ) -> Body:
        """Read a view, in as many requests as it takes."""
        return await find_own_view(service.value, view)(self._open_request(exchange, agent_id, service), query)

    async def act(self, exchange: Exchange, asked: Instruction) -> Body:
        """Do an operation: one POST, and the reads that complete its answer."""
        if asked.own_route is None:
            raise ConfigurationError(f"{asked.what} has no route of its own.")
        request = replace(
            self._open_request(exchange, asked.agent_id, asked.service),
            tag=asked.tag,
            refusals=asked.refusals,
            what=asked.what,
        )
        try:
            return await asked.own_route(request, asked.body)
        except ServiceError as error:
            # After the POST nothing proves any more that it had no effect.
            if request.was_sent and not isinstance(error, ServiceInDoubt):
                raise doubt_error(asked.what, error.message) from error
            raise
        except ConfigurationError as error:
            if request.was_sent:
                raise doubt_error(asked.what, error.message) from error
            raise CredentialMissing(f"{error.message} Nothing was sent.") from error

    def _open_request(self, exchange: Exchange, agent_id: str, service: Service) -> OwnRequest:
        return OwnRequest(
            exchange=exchange,
            file=self._file,
            agent_id=agent_id,
            service=service,
            accounts=self._accounts,
            ended_escrows=self._ended_escrows,
        )
