"""A desk: one agent at one service, with the address, the account and the key that its requests need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.dialect import Instruction, header_key
from agentstate.services.http.exchange import Exchange, ServiceRequest, doubt_error
from agentstate.services.http.json_wire import Body, decode_json, encode_json
from agentstate.services.operations.names import Service
from agentstate.services.own.registry import Registry
from agentstate.services.own.services_file import ServicesFile

_JSON = {"Content-Type": "application/json"}


class Desk:
    """Requests of one agent to one service.

    Args:
        exchange: the process's way out.
        file: addresses, accounts, credentials.
        agent_id: whose requests.
        service: where to.
        registry: our own record of whose account is which.
        asked: what it is for; None for reads.
    """

    def __init__(
        self,
        exchange: Exchange,
        file: ServicesFile,
        agent_id: str,
        service: Service,
        *,
        registry: Registry,
        asked: Instruction | None = None,
    ) -> None:
        self.file, self.agent_id, self.service = file, agent_id, service
        self.acted = False
        self._exchange = exchange
        self._registry = registry
        self._asked = asked

    @property
    def asked(self) -> Instruction:
        """What it is for."""
        if self._asked is None:
            raise ServiceAnswerInvalid(f"{self.service}: a view only reads. Nothing was sent.")
        return self._asked

    @property
    def account(self) -> str:
        """The agent's id at this service."""
        return self.file.account(self.agent_id, self.service)

    def at(self, service: Service) -> Desk:
        """The same agent at another service, for reads."""
        return Desk(self._exchange, self.file, self.agent_id, service, registry=self._registry)

    async def agent_behind(self, account: str) -> str:
        """Our agent behind an id that an answer names; the id itself when it is none of ours."""
        known = self.file.agent(self.service, account)
        if known is not None:
            return known
        enrolled = await asyncio.to_thread(self._registry.agent, self.service.value, account)
        return enrolled or account

    def account_of(self, agent_id: object) -> str:
        """The id at this service of one of our agents; the id itself when the file does not know the agent."""
        return self.file.account(str(agent_id), self.service)

    async def get(self, path: str, **query: str) -> Body:
        """A read's JSON."""
        return decode_json(await self._got(path, query))

    async def text(self, path: str, **query: str) -> str:
        """A read's text."""
        try:
            return (await self._got(path, query)).decode("utf-8")
        except UnicodeDecodeError:
            raise ServiceAnswerInvalid(f"{self.service}: the answer is no text.") from None

    async def post(self, path: str, body: Mapping[str, Any], *, keyless: bool = False, secret: str = "") -> Body:
        """The operation itself, sent once.

        Args:
            path: below the service's address.
            body: what to send.
            keyless: without a key.
            secret: a part of the body that nothing may repeat.
        """
        asked = self.asked
        key = "" if keyless else self.file.key(self.agent_id, self.service)
        headers = {**self._auth(key), **_JSON, "Idempotency-Key": header_key(asked.tag)}
        secrets = tuple(part for part in (key, secret) if part)
        call = self._call("POST", self.service, path, headers=headers, content=encode_json(body), secrets=secrets)
        answer = await self._exchange.post(call, asked.what, asked.refusals)
        self.acted = True
        try:
            return decode_json(answer)
        except ServiceAnswerInvalid as error:
            raise doubt_error(asked.what, error.message) from error

    async def ask(self, place: str, path: str, body: Mapping[str, Any]) -> bytes:
        """A read that is a POST, of a public place such as the venue."""
        return await self._exchange.get(self._call("POST", place, path, headers=_JSON, content=encode_json(body)))

    async def _got(self, path: str, query: Mapping[str, str]) -> bytes:
        key = self.file.key(self.agent_id, self.service)
        call = self._call("GET", self.service, path, headers=self._auth(key), params=query, secrets=(key,))
        return await self._exchange.get(call)

    def _call(self, method: str, place: str, path: str, **parts: Any) -> ServiceRequest:
        url = f"{self.file.url(place)}/{path}"
        return ServiceRequest(service=self.service, caller=self.agent_id, method=method, url=url, **parts)

    def _auth(self, key: str) -> dict[str, str]:
        header = self.file.auth_header(self.service)
        return {} if not key else {header: key} if header else {"Authorization": f"Bearer {key}"}
