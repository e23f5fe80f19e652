"""The circuit breaker: a service that fails again and again is left alone for a while, by all processes.

After `FAILURES` failures in a row nothing is sent to it for a second; then one request may try, and when that fails
too the pause doubles, up to five seconds. One answer closes it. An answer that refuses is an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from agentstate.errors import ServiceUnreachable
from agentstate.services.operations.names import Service
from agentstate.store.redis_client import RedisFallback

FAILURES = 8
PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0
TRIAL_S = 20.0
"""How long the one request that tries has; a process that was killed meanwhile holds nobody up for longer."""

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
        egress: as for the limiter: who shares an address shares its troubles.
        failures: failures in a row that open it.
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
        """Return when something may be sent to `service`.

        Raises:
            ServiceUnreachable: it failed too often just now; nothing was sent.
        """
        wait = self._fallback.run_with_fallback(
            lambda: int(self._may(self._keys(service), [self._failures, _millis(TRIAL_S)])) / 1_000,
            lambda: self._local.seconds_open(service),
        )
        if wait > 0:
            raise ServiceUnreachable(
                f"{service} failed again and again; it is left alone for {wait:.1f} s more. Nothing was sent."
            )

    def record_failure(self, service: Service) -> None:
        """The service gave no answer, or one of 500 and more."""
        times = [_millis(seconds) for seconds in (PAUSE_S, LONGEST_PAUSE_S, FORGOTTEN_AFTER_S)]
        self._local.record_failure(service)
        self._fallback.run_with_fallback(
            lambda: self._failed(self._keys(service), [self._failures, *times]), lambda: None
        )

    def record_success(self, service: Service) -> None:
        """The service answered."""
        self._local.record_success(service)
        self._fallback.run_with_fallback(lambda: self._forget(service), lambda: None)

    def _forget(self, service: Service) -> None:
        if self._redis is not None:
            self._redis.delete(*self._keys(service))

    def _keys(self, service: Service) -> list[str]:
        return [f"{self._prefix}{service.value}:{kind}" for kind in ("failures", "pauses", "pause", "trial")]


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    pauses: int = 0
    until: float = 0.0


class LocalBreakers:
    """The same for this process alone; `now` is a clock that only goes forward, in seconds."""

    def __init__(self, failures: int, now: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._now = now
        self._lock = threading.Lock()
        self._circuits = {service: _Circuit() for service in Service}

    def seconds_open(self, service: Service) -> float:
        """Seconds for which the service is left alone; 0.0 lets a request pass."""
        with self._lock:
            circuit, now = self._circuits[service], self._now()
            if circuit.until > now:
                return circuit.until - now
            if circuit.failures >= self._failures:
                circuit.until = now + TRIAL_S  # this one tries; the others wait for what it finds
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
        """Begin anew."""
        with self._lock:
            self._circuits[service] = _Circuit()


def _millis(seconds: float) -> int:
    return int(seconds * 1_000)
