"""Requests to the services' own routes: one agent at one service, with its address, account and key.

An operation's own route is a method of its class, `call_own_route(request, body)`. A view (a read) is registered by
`own_view`; the unified gateway needs neither, since it serves every view and operation by its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.exchange import Exchange, ServiceRequest, doubt_error, idempotency_key
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.operations.names import Service
from agentstate.services.wire import Answer, Body, decode_json, encode_json

_JSON = {"Content-Type": "application/json"}


class KnownAccounts(Protocol):
    """Accounts and escrows that our own books know and the services do not list."""

    def find_escrows(self, agent_id: str) -> Iterable[str]:
        """Return the ids of escrows that an agent made."""

    def find_agent(self, service: str, account: str) -> str | None:
        """Return the agent that is recorded with an account at a service; None when no agent of ours is."""

    def find_account(self, service: str, agent_id: str) -> str | None:
        """Return the account that is recorded for an agent at a service; None when none is."""

    def record_account(self, service: str, agent_id: str, account: str) -> None:
        """Record the account of an agent at a service, so that every process knows whose it is."""


class NoKnownAccounts:
    """Known accounts of a process without books: none."""

    def find_escrows(self, agent_id: str) -> Iterable[str]:
        """Return no escrows."""
        del agent_id
        return ()

    def find_agent(self, service: str, account: str) -> str | None:
        """Return None."""
        del service, account
        return None

    def find_account(self, service: str, agent_id: str) -> str | None:
        """Return None."""
        del service, agent_id
        return None

    def record_account(self, service: str, agent_id: str, account: str) -> None:
        """Do nothing."""


@dataclass(kw_only=True)
class OwnRequest:
    """The requests of one agent to one service.

    Attributes:
        exchange: the process's exchange.
        file: addresses, accounts, credentials.
        agent_id: the agent.
        service: the service.
        accounts: accounts and escrows that our own books know.
        tag: the name of the intent that an operation is sent for; empty for a view, which only reads.
        refusals: codes by which the operation is refused before any effect.
        what: service and operation, for error texts.
        ended_escrows: escrows that will never change again, by id; shared by all requests of a process.
        was_sent: whether the operation has been sent.
    """

    exchange: Exchange
    file: ServicesFile
    agent_id: str
    service: Service
    accounts: KnownAccounts
    tag: str = ""
    refusals: frozenset[str] = frozenset()
    what: str = ""
    ended_escrows: dict[str, Body] = field(default_factory=dict)
    was_sent: bool = False

    @property
    def account(self) -> str:
        """The agent's id at this service."""
        return self.file.get_account(self.agent_id, self.service)

    async def find_account(self, name: str) -> str:
        """Return the id at this service that a recipient's name stands for.

        It is the account of an agent of ours, by the services file or by our books; any other name is taken for an id
        of the service itself, so that anybody can be paid.
        """
        named = self.file.find_account(name, self.service)
        return named or await asyncio.to_thread(self.accounts.find_account, self.service.value, name) or name

    def at_service(self, service: Service) -> OwnRequest:
        """Return requests of the same agent to another service, for reads."""
        return replace(self, service=service, tag="")

    async def find_agent(self, account: str) -> str:
        """Return our agent behind an id that an answer names; the id itself when no agent of ours has it."""
        known = self.file.find_agent(self.service, account)
        if known is not None:
            return known
        enrolled = await asyncio.to_thread(self.accounts.find_agent, self.service.value, account)
        return enrolled or account

    def rename_account(self, body: Body) -> Body:
        """Return a state under our agent's id; raises ServiceAnswerInvalid when it is of another account."""
        named, account = Answer(body).get_text("agent_id"), self.account
        if named != account:
            raise ServiceAnswerInvalid(f"{self.service} answered for account {named[:40]!r}, not {account!r}.")
        return {**body, "agent_id": self.agent_id}

    async def read_json(self, path: str, **query: str) -> Body:
        """Read a path below the service's address; return its JSON object."""
        return decode_json(await self._read_bytes(path, query))

    async def read_text(self, path: str, **query: str) -> str:
        """Read a path below the service's address; return its text."""
        try:
            return (await self._read_bytes(path, query)).decode("utf-8")
        except UnicodeDecodeError:
            raise ServiceAnswerInvalid(f"{self.service}: the answer is no text.") from None

    async def send_operation(
        self, path: str, body: Mapping[str, Any], *, method: str = "POST", keyless: bool = False, secret: str = ""
    ) -> Body:
        """Send the operation itself, once.

        Args:
            path: below the service's address.
            body: the request.
            method: of HTTP.
            keyless: send it without a key.
            secret: a part of the body that is removed from every answer and text.
        """
        if not self.tag:
            raise ServiceAnswerInvalid(f"{self.service}: a view only reads. Nothing was sent.")
        key = "" if keyless else self.file.get_key(self.agent_id, self.service)
        headers = {**self._auth_header(key), **_JSON, "Idempotency-Key": idempotency_key(self.tag)}
        secrets = tuple(part for part in (key, secret) if part)
        call = self._build_call(method, self.service, path, headers=headers, content=encode_json(body), secrets=secrets)
        answer = await self.exchange.post(call, self.what, self.refusals)
        self.was_sent = True
        try:
            return decode_json(answer)
        except ServiceAnswerInvalid as error:
            raise doubt_error(self.what, error.message) from error

    async def query_public(self, place: str, path: str, body: Mapping[str, Any]) -> bytes:
        """Read by a POST without a key, as the venue behind trading wants it."""
        return await self.exchange.get(self._build_call("POST", place, path, headers=_JSON, content=encode_json(body)))

    async def _read_bytes(self, path: str, query: Mapping[str, str]) -> bytes:
        key = self.file.get_key(self.agent_id, self.service)
        headers = self._auth_header(key)
        return await self.exchange.get(
            self._build_call("GET", self.service, path, headers=headers, params=query, secrets=(key,))
        )

    def _build_call(self, method: str, place: str, path: str, **parts: Any) -> ServiceRequest:
        url = f"{self.file.get_url(place)}/{path}"
        return ServiceRequest(service=self.service, caller=self.agent_id, method=method, url=url, **parts)

    def _auth_header(self, key: str) -> dict[str, str]:
        header = self.file.get_auth_header(self.service)
        return {} if not key else {header: key} if header else {"Authorization": f"Bearer {key}"}


OwnView: TypeAlias = Callable[[OwnRequest, Mapping[str, str]], Awaitable[Body]]
"""Reads a view at a service's own routes; is given the request and the query."""

_own_views: dict[tuple[str, str], OwnView] = {}


def own_view(service: str, name: str) -> Callable[[OwnView], OwnView]:
    """Register a coroutine function as the view `name` of a service at its own routes.

    Example:
        @own_view("lottery", "tickets")
        async def read_tickets(request, query):
            return await request.read_json("tickets")
    """

    def register(view: OwnView) -> OwnView:
        _own_views[service, name] = view
        return view

    return register


def add_own_paths(service: str, paths: Mapping[str, str]) -> None:
    """Register views that are one read of one path each: path by name of the view."""
    for name, path in paths.items():
        _own_views[service, name] = partial(_read_path, path)


async def _read_path(path: str, request: OwnRequest, query: Mapping[str, str]) -> Body:
    return await request.read_json(path, **query)


def find_own_view(service: str, name: str) -> OwnView:
    """Return a registered view; raises ServiceAnswerInvalid when the service has none of that name."""
    view = _own_views.get((service, name))
    if view is None:
        raise ServiceAnswerInvalid(f"{service} does not show `{name}` at its own routes. Nothing was asked.")
    return view
