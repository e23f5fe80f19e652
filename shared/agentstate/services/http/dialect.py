"""Dialects: how the services are spoken to, and the one shape in which every answer is handed on.

Readers know views (`casino/export`) and operations by one name and one shape. The unified gateway serves them as they
are; the services' own routes (`OwnRoutes`) are asked by the functions that stand beside each operation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from agentstate.errors import ConfigurationError, CredentialMissing, ServiceAnswerInvalid, ServiceError, ServiceInDoubt
from agentstate.redaction import register_secret
from agentstate.services.http.exchange import Exchange, ServiceRequest, doubt_error, idempotency_key
from agentstate.services.http.own_request import KnownAccounts, NoKnownAccounts, OwnRequest, find_own_view
from agentstate.services.http.services_file import URLS, ServicesFile
from agentstate.services.operations.names import Service
from agentstate.services.wire import Body, decode_json, encode_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One operation of an agent, to be sent once."""

    agent_id: str
    service: Service
    operation: str
    """Such as `bet`."""
    body: Body
    """The request; Decimal becomes a JSON number."""
    tag: str
    """The name of the intent."""
    refusals: frozenset[str] = frozenset()
    """Codes that this operation is refused with before any effect."""
    has_gateway_route: bool = True
    """Whether the unified gateway has a route for it."""
    own_route: Callable[[OwnRequest, Body], Awaitable[Body]] | None = None
    """Sends the body to the service's own route; None where it has none."""

    @property
    def what(self) -> str:
        """Service and operation, for people."""
        return f"{self.service}.{self.operation}"


class Dialect(Protocol):
    """One way to speak to the services."""

    @property
    def name(self) -> str:
        """`gateway` or `services`."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses that it calls."""

    def mark(self, agent_id: str, service: Service) -> str:
        """Return a hash of the address, account and key in use for an agent."""

    def find_account(self, agent_id: str, service: Service) -> str:
        """Return the agent's id at a service; our own id where no other is known."""

    def offers(self, *, gateway_route: bool, own_route: bool) -> bool:
        """Return whether an operation that has these routes can be asked for in this dialect."""

    async def read(
        self, exchange: Exchange, agent_id: str, service: Service, view: str, query: Mapping[str, str]
    ) -> Body:
        """A view; may take several reads. Raises as `Exchange.get`, and ServiceAnswerInvalid."""

    async def act(self, exchange: Exchange, asked: Instruction) -> Body:
        """An operation: exactly one POST. Raises as `Exchange.post`."""


class UnifiedGateway:
    """The unified gateway: one address, one key, `GET /{service}/{view}?agent_id=`, `POST /{service}/{operation}`.

    Args:
        base_url: such as `https://purpleflea.com/api/v1`.
        api_key: sent as a bearer token; never part of a text.
    """

    name = "gateway"

    def __init__(self, base_url: str, api_key: SecretStr) -> None:
        if urlsplit(base_url).scheme not in {"http", "https"}:
            raise ConfigurationError(f"AGENTSTATE_SERVICES_URL={base_url}: begin with http:// or https://.")
        self._base = base_url.rstrip("/")
        self._key = api_key
        self._mark = hash_credential(self._base, api_key.get_secret_value())
        register_secret(api_key.get_secret_value())

    @property
    def urls(self) -> tuple[str, ...]:
        """The one address."""
        return (self._base,)

    def mark(self, agent_id: str, service: Service) -> str:
        """One key serves all agents at all services."""
        del agent_id, service
        return self._mark

    def find_account(self, agent_id: str, service: Service) -> str:
        """Return our own id, by which the gateway knows an agent."""
        del service
        return agent_id

    def offers(self, *, gateway_route: bool, own_route: bool) -> bool:
        """Return whether the gateway has a route."""
        del own_route
        return gateway_route

    async def read(
        self, exchange: Exchange, agent_id: str, service: Service, view: str, query: Mapping[str, str]
    ) -> Body:
        """`GET /{service}/{view}`."""
        call = self._build_request("GET", agent_id, service, view, params={"agent_id": agent_id, **query})
        return decode_json(await exchange.get(call))

    async def act(self, exchange: Exchange, asked: Instruction) -> Body:
        """`POST /{service}/{operation}`; the tag also goes as `Idempotency-Key`: no service is known to honour it."""
        headers = {"Idempotency-Key": idempotency_key(asked.tag), "Content-Type": "application/json"}
        content = encode_json({"agent_id": asked.agent_id, **asked.body})
        call = self._build_request(
            "POST", asked.agent_id, asked.service, asked.operation, headers=headers, content=content
        )
        answer = await exchange.post(call, asked.what, asked.refusals)
        try:
            return decode_json(answer)
        except ServiceAnswerInvalid as error:
            raise doubt_error(asked.what, error.message) from error

    def _build_request(
        self,
        method: str,
        agent_id: str,
        service: Service,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> ServiceRequest:
        key = self._key.get_secret_value()
        sent = {"Authorization": f"Bearer {key}", **(headers or {})}
        url = f"{self._base}/{service.value}/{name}"
        return ServiceRequest(
            service=service, caller=agent_id, method=method, url=url, headers=sent, secrets=(key,), **parts
        )


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

    def find_account(self, agent_id: str, service: Service) -> str:
        """Return the account by the file or, failing that, by our books."""
        named = self._file.find_account(agent_id, service)
        return named or self._accounts.find_account(service.value, agent_id) or agent_id

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


def hash_credential(place: str, key: str) -> str:
    """Return a hash of an address and a key, from which the key cannot be told."""
    secret = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(place.encode(), key=secret, digest_size=6).hexdigest()
