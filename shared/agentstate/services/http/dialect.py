"""Dialects: how the services are spoken to, and the one shape in which every answer is handed on.

Operations and readers know views (`casino/export`) and operations (`casino/bet`) by one name and one shape. A dialect
turns each into the requests of its routes and brings the answers back into that shape: the unified gateway's as it is,
the services' own routes by translation (`agentstate.services.own`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from agentstate.errors import ConfigurationError, ServiceAnswerInvalid
from agentstate.redaction import register_secret
from agentstate.services.http.exchange import Exchange, ServiceRequest, doubt_error
from agentstate.services.http.json_wire import Body, decode_json, encode_json
from agentstate.services.operations.names import Service

LONGEST_KEY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What an agent wants done at a service, once."""

    agent_id: str
    service: Service
    operation: str
    """Such as `bet`."""
    body: Mapping[str, Any]
    """The request; Decimal becomes a JSON number."""
    tag: str
    """Our name of the intent."""
    refusals: frozenset[str] = frozenset()
    """Codes that this operation is refused with before any effect."""

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
        """A mark of the address, account and key in use for an agent; gives the key away to nobody."""

    def offers(self, service: Service, operation: str) -> bool:
        """Whether the operation can be asked for in this dialect."""

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
        self._mark = marked(self._base, api_key.get_secret_value())
        register_secret(api_key.get_secret_value())

    @property
    def urls(self) -> tuple[str, ...]:
        """The one address."""
        return (self._base,)

    def mark(self, agent_id: str, service: Service) -> str:
        """One key serves all agents at all services."""
        del agent_id, service
        return self._mark

    def offers(self, service: Service, operation: str) -> bool:
        """Every operation has a route here, but one registration stands for all services."""
        del service
        return operation != "join"

    async def read(
        self, exchange: Exchange, agent_id: str, service: Service, view: str, query: Mapping[str, str]
    ) -> Body:
        """`GET /{service}/{view}`."""
        call = self._call("GET", agent_id, service, view, params={"agent_id": agent_id, **query})
        return decode_json(await exchange.get(call))

    async def act(self, exchange: Exchange, asked: Instruction) -> Body:
        """`POST /{service}/{operation}`; the tag also goes as `Idempotency-Key`: no service is known to honour it."""
        headers = {"Idempotency-Key": header_key(asked.tag), "Content-Type": "application/json"}
        content = encode_json({"agent_id": asked.agent_id, **asked.body})
        call = self._call("POST", asked.agent_id, asked.service, asked.operation, headers=headers, content=content)
        answer = await exchange.post(call, asked.what, asked.refusals)
        try:
            return decode_json(answer)
        except ServiceAnswerInvalid as error:
            raise doubt_error(asked.what, error.message) from error

    def _call(
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


def header_key(tag: str) -> str:
    """The tag when it fits a header of 64 characters, else its SHA-256."""
    fits = 0 < len(tag) <= LONGEST_KEY and tag.isascii() and tag.isprintable()
    return tag if fits else hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()


def marked(place: str, key: str) -> str:
    """A mark of an address and a key, from which the key cannot be told."""
    secret = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return hashlib.blake2b(place.encode(), key=secret, digest_size=6).hexdigest()
