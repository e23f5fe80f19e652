"""Traffic: what every request to a service passes before it is sent, and is told of afterwards.

The gateway knows this small interface alone; behind it stand one rate limiter and one circuit breaker, shared by all
processes through Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.breaker import CircuitBreaker
from agentstate.services.http.json_wire import Body, decode_json
from agentstate.services.http.limiter import RateLimiter, parse_stated_limit
from agentstate.services.http.refusals import LONG_WAIT_S, TOO_MANY, seconds_until_reset
from agentstate.services.operations.names import Service

SERVER_FAULT = 500
WAIT_S = 1.0
"""How long a request waits for its turn before it is refused; it may be repeated, since nothing was sent."""

SHORT_HALT_S = 60.0

_ADDRESS_LIMIT: Final = "rate_limited"
_DAILY_ADDRESS_LIMIT: Final = "ip_rate_limited"
"""The other codes that come with 429 (`rate_limit_exceeded`, `already_claimed`) concern one agent and halt that one."""


class Traffic(Protocol):
    """Who lets requests pass."""

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        """Before a request is sent.

        Args:
            service: where to.
            path: what the service counts by: its exact path without host and query.
            caller: the agent that asks.

        Raises:
            ServiceRejected: it would pass a rate limit (`retry_after`). ServiceUnreachable: the service is left alone
            for a while. In both cases nothing was sent.
        """

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """After an answer, whatever it says."""

    def record_failure(self, service: Service) -> None:
        """After a request that got no answer."""


class FreeTraffic:
    """Lets everything pass."""

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        """Pass."""

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """Take no note."""

    def record_failure(self, service: Service) -> None:
        """Take no note."""


class SharedTraffic:
    """The limiter and the breaker that all processes behind one address share.

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
        """Before a request is sent; see `Traffic.enter`."""
        self.breaker.ensure_closed(service)
        self.limiter.acquire(path, caller=caller, wait_s=self._wait_s)

    def record_answer(self, service: Service, path: str, caller: str, status: int, content: bytes) -> None:
        """Note whether the service is well, and learn from both kinds of 429."""
        if status >= SERVER_FAULT:
            self.breaker.record_failure(service)
            return
        self.breaker.record_success(service)
        if status == TOO_MANY:
            self._too_many(path, caller, content)

    def record_failure(self, service: Service) -> None:
        """Note that there was no answer."""
        self.breaker.record_failure(service)

    def _too_many(self, path: str, caller: str, content: bytes) -> None:
        body = _object(content)
        code = str(body.get("error", _ADDRESS_LIMIT)).lower()
        if code == _ADDRESS_LIMIT:
            self.limiter.record_limit(path, SHORT_HALT_S, stated_limit=parse_stated_limit(body))
        elif code == _DAILY_ADDRESS_LIMIT:
            self.limiter.halt_path(path, LONG_WAIT_S)
        else:
            self.limiter.halt_path(path, seconds_until_reset(content, self._clock), caller=caller)


def _object(content: bytes) -> Body:
    try:
        return decode_json(content)
    except ServiceAnswerInvalid:
        return {}
