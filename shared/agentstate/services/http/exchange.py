"""HTTP exchanges with strict error reading: each ends with an answer, or with an error that states the certain facts.

A read cannot have changed anything. An operation was certainly not sent, or was refused by a known code before any
effect, or, in every other case, may have been applied.
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
    """One HTTP request to a service."""

    service: Service
    caller: str
    """The agent in whose name it is sent."""
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts to mask in the answer, such as the key it is sent with."""

    @property
    def path(self) -> str:
        """Method and exact path, by which the services count requests."""
        return f"{self.method} {urlsplit(self.url).path}"


class Exchange:
    """Sends calls over one transport.

    Args:
        transport: the process's pool.
        clock: present time, UTC; needed for times of reset.
        traffic: limiter and breaker, if any.
    """

    def __init__(self, transport: Transport, clock: Clock, traffic: Traffic | None = None) -> None:
        self._transport = transport
        self._clock = clock
        self._traffic = traffic

    async def get(self, call: ServiceRequest) -> bytes:
        """Send a read and return its answer.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused, such as an unknown agent, a wrong key or a rate limit (`retry_after`).
            ServiceReadFailed: no answer, or a server fault.
        """
        try:
            reply = await self._send_once(call)
        except AnswerLost as lost:
            raise read_error(call.service, lost) from lost
        if httpx.codes.is_success(reply.status):
            return reply.content
        refused = None
        if reply.status < SERVER_FAULT:
            refused = parse_refusal(reply.status, reply.content, frozenset({error_code(reply.content)}), self._clock)
        raise refused or ServiceReadFailed(f"{call.service} answered {reply.status} to a read. Nothing was changed.")

    async def post(self, call: ServiceRequest, what: str, refusals: frozenset[str] = frozenset()) -> bytes:
        """Send an operation once and return its answer.

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
            reply = await self._send_once(call)
        except AnswerLost as lost:
            raise doubt_error(what, str(lost)) from lost
        if httpx.codes.is_success(reply.status):
            return reply.content
        refused = parse_refusal(reply.status, reply.content, refusals, self._clock)
        raise refused or doubt_error(what, f"{reply.status} {error_code(reply.content)}".strip())

    async def _send_once(self, call: ServiceRequest) -> Reply:
        """Send once, when the limiter and the breaker admit it, and report the outcome to them."""
        # In threads: the limiter asks Redis, and may wait for a turn.
        traffic = self._traffic
        if traffic is not None:
            await asyncio.to_thread(traffic.admit_request, call.service, call.path, call.caller)
        parts: dict[str, Any] = {"headers": dict(call.headers), "content": call.content}
        if call.params:
            parts["params"] = dict(call.params)
        request = self._transport.build_request(call.method, call.url, **parts)
        try:
            reply = await self._transport.send_request(request)
        except (NotSent, AnswerLost) as error:
            if traffic is not None:
                await asyncio.to_thread(traffic.record_failure, call.service)
            if isinstance(error, AnswerLost):
                raise
            host = urlsplit(call.url).netloc
            raise ServiceUnreachable(
                f"{call.service} at {host} cannot be reached ({error}); nothing was sent. Try again later."
            ) from error
        content = reply.content
        if traffic is not None:
            await asyncio.to_thread(traffic.record_answer, call.service, call.path, call.caller, reply.status, content)
        for secret in call.secrets:
            content = content.replace(secret.encode(), STAND_IN.encode())
        return Reply(status=reply.status, content=content)


def idempotency_key(tag: str) -> str:
    """Return the tag when it fits a header of 64 characters, else its SHA-256."""
    fits = 0 < len(tag) <= LONGEST_KEY and tag.isascii() and tag.isprintable()
    return tag if fits else hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()


def doubt_error(what: str, why: str) -> ServiceError:
    """Return the error of an operation with an unknown outcome."""
    return ServiceInDoubt(f"{what} may have been applied ({why}); it must be verified, not repeated.")


def read_error(service: Service, lost: AnswerLost) -> ServiceError:
    """Return the error of a read without an answer."""
    return ServiceReadFailed(f"{service} did not answer a read ({lost}). Nothing was changed.")
