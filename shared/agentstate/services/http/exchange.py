"""Reading strictly what went wrong: each exchange ends with an answer, or with an error that says what is certain.

Of a read nothing can have changed. Of an operation three things can be known: it was certainly not sent, a known code
refused it before any effect, or, for everything else, it may have happened.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from agentstate.clock import Clock
from agentstate.errors import ServiceError, ServiceInDoubt, ServiceReadFailed, ServiceUnreachable
from agentstate.redaction import STAND_IN
from agentstate.services.http.refusals import error_code, parse_refusal
from agentstate.services.http.traffic import Traffic
from agentstate.services.http.transport import AnswerLost, NotSent, Reply, Transport
from agentstate.services.operations.names import Service

SERVER_FAULT = 500
LONGEST_KEY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """One request to be sent."""

    service: Service
    caller: str
    """The agent that asks."""
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What the answer must not bring back, such as the key that it is sent with."""

    @property
    def path(self) -> str:
        """What the services count by: the method and the exact path."""
        return f"{self.method} {urlsplit(self.url).path}"


class Exchange:
    """Sends calls over one transport.

    Args:
        transport: the process's pool.
        clock: present time, UTC; needed for times of reset.
        traffic: who lets requests pass, if anybody.
    """

    def __init__(self, transport: Transport, clock: Clock, traffic: Traffic | None = None) -> None:
        self._transport = transport
        self._clock = clock
        self._traffic = traffic

    async def get(self, call: ServiceRequest) -> bytes:
        """The answer to a read.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused, such as an unknown agent, a wrong key or a rate limit (`retry_after`).
            ServiceReadFailed: no answer, or a server fault.
        """
        try:
            reply = await self._sent(call)
        except AnswerLost as lost:
            raise read_error(call.service, lost) from lost
        if httpx.codes.is_success(reply.status):
            return reply.content
        refused = None
        if reply.status < SERVER_FAULT:
            refused = parse_refusal(reply.status, reply.content, frozenset({error_code(reply.content)}), self._clock)
        raise refused or ServiceReadFailed(f"{call.service} answered {reply.status} to a read. Nothing was changed.")

    async def post(self, call: ServiceRequest, what: str, refusals: frozenset[str] = frozenset()) -> bytes:
        """The answer to an operation, sent once.

        Args:
            call: the request.
            what: its name, `service.operation`.
            refusals: codes that it is refused with before any effect.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused before any effect.
            ServiceInDoubt: anything else; it may have been applied.
        """
        try:
            reply = await self._sent(call)
        except AnswerLost as lost:
            raise doubt_error(what, str(lost)) from lost
        if httpx.codes.is_success(reply.status):
            return reply.content
        refused = parse_refusal(reply.status, reply.content, refusals, self._clock)
        raise refused or doubt_error(what, f"{reply.status} {error_code(reply.content)}".strip())

    async def _sent(self, call: ServiceRequest) -> Reply:
        """Send once, when the traffic allows it, and tell the traffic what came of it."""
        await self._passed(call)
        try:
            reply = await self._transport.send_request(self._request(call))
        except NotSent as error:
            await self._told(call, None)
            host = urlsplit(call.url).netloc
            raise ServiceUnreachable(
                f"{call.service} at {host} cannot be reached ({error}); nothing was sent. Try again later."
            ) from error
        except AnswerLost:
            await self._told(call, None)
            raise
        await self._told(call, reply)
        return Reply(status=reply.status, content=_without(reply.content, call.secrets))

    async def _passed(self, call: ServiceRequest) -> None:
        if self._traffic is not None:
            # In a thread: the traffic asks Redis, and may wait for a turn.
            await asyncio.to_thread(self._traffic.admit_request, call.service, call.path, call.caller)

    async def _told(self, call: ServiceRequest, reply: Reply | None) -> None:
        if self._traffic is None:
            return
        if reply is None:
            await asyncio.to_thread(self._traffic.record_failure, call.service)
        else:
            answered = (call.service, call.path, call.caller, reply.status, reply.content)
            await asyncio.to_thread(self._traffic.record_answer, *answered)

    def _request(self, call: ServiceRequest) -> httpx.Request:
        parts: dict[str, Any] = {"headers": dict(call.headers), "content": call.content}
        if call.params:
            parts["params"] = dict(call.params)
        return self._transport.build_request(call.method, call.url, **parts)


def idempotency_key(tag: str) -> str:
    """Return the tag when it fits a header of 64 characters, else its SHA-256."""
    fits = 0 < len(tag) <= LONGEST_KEY and tag.isascii() and tag.isprintable()
    return tag if fits else hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()


def doubt_error(what: str, why: str) -> ServiceError:
    """The error of an operation that nobody can tell about."""
    return ServiceInDoubt(f"{what} may have been applied ({why}); it must be verified, not repeated.")


def read_error(service: Service, lost: AnswerLost) -> ServiceError:
    """The error of a read that got no answer."""
    return ServiceReadFailed(f"{service} did not answer a read ({lost}). Nothing was changed.")


def _without(content: bytes, secrets: tuple[str, ...]) -> bytes:
    for secret in secrets:
        content = content.replace(secret.encode(), STAND_IN.encode())
    return content
