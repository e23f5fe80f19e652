"""Admission of requests: a rate limiter and a circuit breaker before each request, informed by each answer.

The limiter and the breaker are shared by all processes through Redis. After `FAILURES` consecutive failures the circuit
opens for a second; then one trial request is admitted, and when it fails too the pause doubles, up to five seconds. Any
answer closes the circuit, a refusal too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from redis import Redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceAnswerInvalid, ServiceUnreachable
from agentstate.services.http.limiter import RateLimiter, parse_stated_limit
from agentstate.services.http.refusals import LONG_WAIT_S, TOO_MANY, seconds_until_reset
from agentstate.services.operations.names import Service
from agentstate.services.wire import decode_json
from agentstate.store.redis_client import RedisFallback

FAILURES = 8
PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0
TRIAL_S = 20.0
"""Seconds for the trial request; if its process was killed, another trial starts afterwards."""

FORGOTTEN_AFTER_S = 300.0

# KEYS: failures in a row, pauses in a row, the pause, the trial.
_MAY = """
local pause = redis.call('PTTL', KEYS[3])
if pause > 0 then return pause end
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return 0 end
if redis.call('SET', KEYS[4], '1', 'NX', 'PX', ARGV[2]) then return 0 end
return math.max(redis.call('PTTL', KEYS[4]), 1)
"""
_FAILED = """
local failures = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if failures < tonumber(ARGV[1]) or redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local pauses = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[3], '1', 'PX', math.floor(math.min(ARGV[2] * 2 ^ math.min(pauses - 1, 20), ARGV[3])))
redis.call('DEL', KEYS[4])
return pauses
"""


class CircuitBreaker:
    """One breaker for each service.

    Args:
        redis: a synchronous client with timeouts; None counts in this process alone.
        egress: as for the limiter.
        failures: consecutive failures that open the circuit.
    """

    def __init__(self, redis: Redis | None, *, egress: str = "default", failures: int = FAILURES) -> None:
        self._redis = redis
        self._failures = failures
        self._prefix = f"as:{{/egress/{egress}}}:breaker:"
        self._local = LocalBreakers(failures)
        self._fallback = RedisFallback(present=redis is not None)
        if redis is not None:
            self._may = redis.register_script(_MAY)
            self._failed = redis.register_script(_FAILED)

    def ensure_closed(self, service: Service) -> None:
        """Check that a request may be sent to `service`.

        Raises:
            ServiceUnreachable: the circuit is open; nothing was sent.
        """
        wait = self._fallback.run_with_fallback(
            lambda: int(self._may(self._key_names(service), [self._failures, _to_millis(TRIAL_S)])) / 1_000,
            lambda: self._local.seconds_open(service),
        )
        if wait > 0:
            raise ServiceUnreachable(
                f"{service} failed repeatedly; no request is sent for another {wait:.1f} s. Nothing was sent."
            )

    def record_failure(self, service: Service) -> None:
        """Count a request without an answer, or with status 500 or more."""
        times = [_to_millis(seconds) for seconds in (PAUSE_S, LONGEST_PAUSE_S, FORGOTTEN_AFTER_S)]
        self._local.record_failure(service)
        self._fallback.run_with_fallback(
            lambda: self._failed(self._key_names(service), [self._failures, *times]), lambda: None
        )

    def record_success(self, service: Service) -> None:
        """Close the circuit: the service answered."""
        self._local.record_success(service)
        redis = self._redis
        if redis is not None:
            self._fallback.run_with_fallback(lambda: redis.delete(*self._key_names(service)), lambda: None)

    def _key_names(self, service: Service) -> list[str]:
        return [f"{self._prefix}{service.value}:{kind}" for kind in ("failures", "pauses", "pause", "trial")]


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    pauses: int = 0
    until: float = 0.0


class LocalBreakers:
    """The same breakers for this process alone; `now` is a monotonic clock in seconds."""

    def __init__(self, failures: int, now: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._now = now
        self._lock = threading.Lock()
        self._circuits = {service: _Circuit() for service in Service}

    def seconds_open(self, service: Service) -> float:
        """Return the seconds for which the circuit stays open; 0.0 admits a request."""
        with self._lock:
            circuit, now = self._circuits[service], self._now()
            if circuit.until > now:
                return circuit.until - now
            if circuit.failures >= self._failures:
                circuit.until = now + TRIAL_S  # this request is the trial; the others wait for its result
            return 0.0

    def record_failure(self, service: Service) -> None:
        """Count a failure."""
        with self._lock:
            circuit = self._circuits[service]
            circuit.failures += 1
            if circuit.failures >= self._failures:
                circuit.until = self._now() + min(PAUSE_S * 2.0 ** min(circuit.pauses, 20), LONGEST_PAUSE_S)
                circuit.pauses += 1

    def record_success(self, service: Service) -> None:
        """Close the circuit."""
        with self._lock:
            self._circuits[service] = _Circuit()


def _to_millis(seconds: float) -> int:
    return int(seconds * 1_000)


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
