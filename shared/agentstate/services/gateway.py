"""The gateway of the services: one pool of connections a process, and a strict reading of what went wrong.

A request that was certainly not sent is ServiceUnreachable; one that a known code refused before any effect is
ServiceRejected; everything else about a money operation is ServiceInDoubt. A POST is never repeated here.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from agentstate.clock import Clock, utc_now
from agentstate.errors import (
    ConfigurationError,
    ServiceAnswerInvalid,
    ServiceError,
    ServiceInDoubt,
    ServiceReadFailed,
    ServiceUnreachable,
)
from agentstate.ids import checked_name
from agentstate.services.names import Service
from agentstate.services.refusals import code_of, refusal
from agentstate.services.traffic import FreeTraffic, Traffic
from agentstate.services.wire import Body, decode, encode
from agentstate.settings import Settings

CONNECT_S, READ_S, DEADLINE_S = 3.0, 10.0, 15.0
CONNECTIONS = 32
IDLE_S = 4.0
"""The services close idle connections after 5 s; ours are given up a little before."""

LARGEST_ANSWER = 4 * 1024 * 1024
LONGEST_KEY = 64
SERVER_FAULT = 500

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Gateway:
    """Calls of the unified gateway, for any number of agents and threads.

    Args:
        base_url: such as `https://purpleflea.com/api/v1`.
        api_key: sent as a bearer token; never part of a text.
        deadline_s: longest time of one exchange in seconds, connecting and reading included.
        traffic: who lets requests pass: the limiter and the breaker of all processes.
        clock: present time, UTC.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        deadline_s: float = DEADLINE_S,
        traffic: Traffic | None = None,
        clock: Clock = utc_now,
    ) -> None:
        if urlsplit(base_url).scheme not in {"http", "https"}:
            raise ConfigurationError(f"AGENTSTATE_SERVICES_URL={base_url}: begin with http:// or https://.")
        self._base = base_url.rstrip("/")
        self._key = api_key
        self.mark = _mark(self._base, api_key)
        """A mark of the address and the key, the same in all processes that use both; does not give the key away."""
        self._deadline_s = deadline_s
        self._traffic: Traffic = traffic or FreeTraffic()
        self._clock = clock
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._pid = 0

    @classmethod
    def from_settings(cls, settings: Settings, *, traffic: Traffic | None = None) -> Gateway:
        """The gateway that the settings name.

        Raises:
            ConfigurationError: there is no key.
        """
        if settings.services_api_key is None:
            raise ConfigurationError("AGENTSTATE_SERVICES_API_KEY is not set; the services need a key.")
        return cls(settings.services_url, settings.services_api_key, traffic=traffic)

    @property
    def deadline_s(self) -> float:
        """Longest time of one exchange, in seconds."""
        return self._deadline_s

    def now(self) -> datetime:
        """The present time, UTC."""
        return self._clock()

    def read(self, agent_id: str, service: Service, view: str = "state", **query: str) -> Body:
        """Read something of an agent; `state` is what each service keeps for it.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused, such as an unknown agent, a wrong key or a rate limit (`retry_after`).
            ServiceReadFailed: no answer, or one that cannot be read (ServiceAnswerInvalid).
        """
        params = {"agent_id": checked_name(agent_id), **query}
        request = self._opened().build_request("GET", self._url(service, view), params=params)
        try:
            status, content = self._exchange(request, service, agent_id)
        except httpx.HTTPError as error:
            raise self._read_failure(error, service) from error
        if status >= SERVER_FAULT:
            raise ServiceReadFailed(f"{service} answered {status} to a read. Nothing was changed.")
        if not httpx.codes.is_success(status):
            raise self._refused_read(status, content, service)
        return decode(content)

    def act(
        self,
        agent_id: str,
        service: Service,
        operation: str,
        body: Mapping[str, Any],
        *,
        tag: str,
        refusals: frozenset[str] = frozenset(),
    ) -> Body:
        """Do something, sent once.

        Args:
            agent_id: who does it.
            service: where.
            operation: what, such as `bet`.
            body: the request; Decimal becomes a JSON number.
            tag: our name of the intent, sent as `Idempotency-Key`; no service is known to honour it.
            refusals: codes that this operation is refused with before any effect.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused before any effect.
            ServiceInDoubt: anything else; it may have been applied.
        """
        headers = {"Idempotency-Key": _header_key(tag), "Content-Type": "application/json"}
        content = encode({"agent_id": checked_name(agent_id), **body})
        request = self._opened().build_request("POST", self._url(service, operation), content=content, headers=headers)
        try:
            status, answer = self._exchange(request, service, agent_id)
        except _NOT_SENT as error:
            raise self._unreachable(error, service) from error
        except httpx.HTTPError as error:
            raise _in_doubt(f"{service}.{operation}", type(error).__name__) from error
        return self._outcome(f"{service}.{operation}", status, answer, refusals)

    def close(self) -> None:
        """Give up the connections; the next call opens new ones."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
            self._client = None

    def _url(self, service: Service, name: str) -> str:
        return f"{self._base}/{service.value}/{name}"

    def _opened(self) -> httpx.Client:
        """This process's client, made on first use: a connection must not be shared over a fork."""
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = self._new_client(), os.getpid()
            return self._client

    def _new_client(self) -> httpx.Client:
        read_s = min(READ_S, self._deadline_s)
        return httpx.Client(
            headers={"Authorization": f"Bearer {self._key.get_secret_value()}"},
            timeout=httpx.Timeout(read_s, connect=min(CONNECT_S, self._deadline_s)),
            limits=httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=IDLE_S),
            trust_env=urlsplit(self._base).hostname not in _LOOPBACK,
            # Redirects are not followed, so plain HTTP never turns into TLS; making its context takes 0.1 s.
            verify=urlsplit(self._base).scheme == "https",
        )

    def _exchange(self, request: httpx.Request, service: Service, agent_id: str) -> tuple[int, bytes]:
        """Send once, when the traffic allows it, and tell the traffic what came of it."""
        path = f"{request.method} {request.url.path}"
        self._traffic.enter(service, path, agent_id)
        try:
            status, content = self._sent(request)
        except httpx.HTTPError as error:
            if not isinstance(error, httpx.PoolTimeout):  # which is our own doing
                self._traffic.failed(service)
            raise
        self._traffic.answered(service, path, agent_id, status, content)
        return status, content

    def _sent(self, request: httpx.Request) -> tuple[int, bytes]:
        """Read the whole answer within the deadline."""
        until = time.monotonic() + self._deadline_s
        response = self._opened().send(request, stream=True)
        try:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > until or len(content) > LARGEST_ANSWER:
                    raise httpx.ReadTimeout("the answer came too slowly or is too large", request=request)
            return response.status_code, bytes(content)
        finally:
            response.close()

    def _outcome(self, what: str, status: int, content: bytes, refusals: frozenset[str]) -> Body:
        if not httpx.codes.is_success(status):
            refused = refusal(status, content, refusals, self._clock)
            raise refused if refused is not None else _in_doubt(what, f"{status} {code_of(content)}".strip())
        try:
            return decode(content)
        except ServiceAnswerInvalid as error:
            raise _in_doubt(what, error.message) from error

    def _read_failure(self, error: httpx.HTTPError, service: Service) -> ServiceError:
        if isinstance(error, _NOT_SENT):
            return self._unreachable(error, service)
        return ServiceReadFailed(f"{service} did not answer a read ({type(error).__name__}). Nothing was changed.")

    def _refused_read(self, status: int, content: bytes, service: Service) -> ServiceError:
        code = code_of(content)
        refused = refusal(status, content, frozenset({code}), self._clock)
        return refused or ServiceReadFailed(f"{service} answered {status} to a read. Nothing was changed.")

    def _unreachable(self, error: httpx.HTTPError, service: Service) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"{service} at {self._base} cannot be reached ({type(error).__name__}); nothing was sent. Try again later."
        )


def _mark(base: str, api_key: SecretStr) -> str:
    secret = api_key.get_secret_value().encode("utf-8", "surrogatepass")
    return hashlib.blake2b(base.encode(), key=hashlib.sha256(secret).digest(), digest_size=6).hexdigest()


def _in_doubt(what: str, why: str) -> ServiceInDoubt:
    return ServiceInDoubt(f"{what} may have been applied ({why}); it must be verified, not repeated.")


def _header_key(tag: str) -> str:
    """The tag when it fits a header of 64 characters, else its SHA-256."""
    fits = 0 < len(tag) <= LONGEST_KEY and tag.isascii() and tag.isprintable()
    return tag if fits else hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()
