"""Admission of requests: a rate limiter and a circuit breaker before each request, informed by each answer.

The gateway knows only this small interface; the limiter and the breaker are shared by all processes through Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.breaker import CircuitBreaker
from agentstate.services.http.json_wire import decode_json
from agentstate.services.http.limiter import RateLimiter, parse_stated_limit
from agentstate.services.http.refusals import LONG_WAIT_S, TOO_MANY, seconds_until_reset
from agentstate.services.operations.names import Service

SERVER_FAULT = 500
WAIT_S = 1.0
"""Seconds that a request waits under a rate limit before it is refused; it may be repeated, as nothing was sent."""

SHORT_HALT_S = 60.0

_ADDRESS_LIMIT: Final = "rate_limited"
_DAILY_ADDRESS_LIMIT: Final = "ip_rate_limited"
"""The other codes that come with 429 (`rate_limit_exceeded`, `already_claimed`) concern one agent and halt that one."""


class Traffic(Protocol):
    """Admits requests, and records their outcomes."""

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        """Admit a request before it is sent.

        Args:
            service: the service.
            path: the exact path without host and query, by which the service counts.
            caller: the agent.

        Raises:
            ServiceRejected: it would exceed a rate limit (`retry_after`). ServiceUnreachable: the circuit is open. In
            both cases nothing was sent.
        """

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """Record an answer of any status."""

    def record_failure(self, service: Service) -> None:
        """Record a request without an answer."""


class FreeTraffic:
    """Admits every request; a no-op implementation."""

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        """Admit."""

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """Do nothing."""

    def record_failure(self, service: Service) -> None:
        """Do nothing."""


class SharedTraffic:
    """The limiter and the breaker shared by all processes behind one address.

    Args:
        redis: a synchronous client with timeouts; None counts in this process alone.
        egress: name of the address that requests leave from.
        limits: requests in 60 s by path, as far as they are known.
        wait_s: how long a request waits for its turn.
        clock: present time, UTC.
    """

    def __init__(
        self,
        redis: Redis | None,
        *,
        egress: str = "default",
        limits: Mapping[str, int] | None = None,
        wait_s: float = WAIT_S,
        clock: Clock = utc_now,
    ) -> None:
        self.limiter = RateLimiter(redis, egress=egress, limits=limits)
        self.breaker = CircuitBreaker(redis, egress=egress)
        self._wait_s = wait_s
        self._clock = clock

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        """Admit a request; see `Traffic.admit_request`."""
        self.breaker.ensure_closed(service)
        self.limiter.acquire(path, caller=caller, wait_s=self._wait_s)

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """Record success or failure for the breaker, and learn from 429 answers."""
        if status >= SERVER_FAULT:
            self.breaker.record_failure(service)
            return
        self.breaker.record_success(service)
        if status != TOO_MANY:
            return
        try:
            body = decode_json(content)
        except ServiceAnswerInvalid:
            body = {}
        code = str(body.get("error", _ADDRESS_LIMIT)).lower()
        if code == _ADDRESS_LIMIT:
            self.limiter.record_limit(path, SHORT_HALT_S, stated_limit=parse_stated_limit(body))
        elif code == _DAILY_ADDRESS_LIMIT:
            self.limiter.halt_path(path, LONG_WAIT_S)
        else:
            self.limiter.halt_path(path, seconds_until_reset(content, self._clock), caller=caller)

    def record_failure(self, service: Service) -> None:
        """Record a failure for the breaker."""
        self.breaker.record_failure(service)
