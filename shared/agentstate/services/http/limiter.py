"""The rate limiter: one count per exact path for all processes that share an address; and the services' known limits.

The services count requests per address and path in fixed windows whose start they do not announce. A sliding window,
slightly longer than theirs and measured by the clock of Redis, admits at most `limit` requests in any window of theirs.
A limit is configured or learned: a 429 halts its path for all processes, and the number of requests sent until then
becomes the limit for a while.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from redis import Redis

from agentstate.errors import InvalidInput, ServiceRejected
from agentstate.services.operations.names import Service
from agentstate.store.redis_client import RedisFallback

WINDOW_S = 61.0
"""The services' windows have 60 s; the second more covers requests that travel for unequal times."""

LEARNED_FOR_S = 600.0
"""How long a limit that was only guessed from a 429 holds; then the path may show more again."""

LONGEST_HALT_S = 3_600.0
"""After an hour one request may find out whether a rule such as "once a day" still holds."""

LOCAL_SHARE = 4
"""While Redis is away a process keeps to a quarter of a limit, since it does not see the others."""

LOCAL_PATHS = 256
SLOWEST_LOOK_S = 0.25
LONGEST_EGRESS = 64

_MOST_LOGGED = 1_000
_MICROS = 1_000_000

_ADMIT = """
local halt = math.max(redis.call('PTTL', KEYS[3]), redis.call('PTTL', KEYS[4]))
if halt > 0 then return halt * 1000 end
local t = redis.call('TIME')
local now, window = t[1] * 1000000 + t[2], tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local limit = tonumber(ARGV[2])
local learned = tonumber(redis.call('GET', KEYS[2]) or '0')
if learned > 0 and (limit == 0 or learned < limit) then limit = learned end
local passed = redis.call('ZCARD', KEYS[1])
if limit > 0 and passed >= limit then
  local leaves = redis.call('ZRANGE', KEYS[1], passed - limit, passed - limit, 'WITHSCORES')[2]
  return math.max(leaves + window - now, 1)
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[3])
if limit == 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 1000)
return 0
"""

# The refused request is in the log, so one less went through. A limit that the service tells is believed unless more
# than twice of it went through just now, which a fixed window cannot do.
_LEARN = """
local passed, told = redis.call('ZCARD', KEYS[1]) - 1, tonumber(ARGV[2])
local limit = math.max(math.floor(passed * 0.9), 1)
if told > 0 and passed <= 2 * told then limit = told end
redis.call('SET', KEYS[2], limit, 'PX', ARGV[3])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[3], '1', 'PX', ARGV[1]) end
return limit
"""
_HALT = "if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end"


class RateLimiter:
    """Admits requests, for all processes behind one address.

    Args:
        redis: a synchronous client with timeouts; None keeps the count in this process.
        egress: name of the address that requests leave from; processes that share one must give the same name.
        limits: requests in 60 s by path, as far as they are known; other paths are free until a 429 comes.
        window_s: length of the sliding window in seconds.
    """

    def __init__(
        self,
        redis: Redis | None,
        *,
        egress: str = "default",
        limits: Mapping[str, int] | None = None,
        window_s: float = WINDOW_S,
    ) -> None:
        if not 0 < len(egress) <= LONGEST_EGRESS or not egress.isprintable() or set(egress) & set("{} "):
            raise InvalidInput(f"egress {egress!r} is refused: use 1 to {LONGEST_EGRESS} characters without braces.")
        self._limits = dict(limits or {})
        self._window_s = window_s
        # Agent names cannot begin with a slash, so these keys collide with none of theirs.
        self._prefix = f"as:{{/egress/{egress}}}:"
        self._local = LocalWindows(window_s)
        self._fallback = RedisFallback(present=redis is not None)
        if redis is not None:
            self._admit = redis.register_script(_ADMIT)
            self._learn = redis.register_script(_LEARN)
            self._halt = redis.register_script(_HALT)

    def acquire(self, path: str, *, caller: str = "", wait_s: float = 0.0) -> None:
        """Wait at most `wait_s` seconds until a request of `caller` on `path` may be sent.

        Raises:
            ServiceRejected: it would exceed the limit; try again after `retry_after` seconds. Nothing was sent.
        """
        until = time.monotonic() + wait_s
        while (wait := self.try_acquire(path, caller)) > 0:
            if time.monotonic() + min(wait, SLOWEST_LOOK_S) > until:
                raise ServiceRejected(
                    f"{path} has reached its rate limit; the next one may go out in {wait:.1f} s. Nothing was sent.",
                    code="rate_limited_here",
                    retry_after=wait,
                )
            time.sleep(min(wait, SLOWEST_LOOK_S))

    def try_acquire(self, path: str, caller: str = "") -> float:
        """Return 0.0 and count the request when it may be sent now, else seconds until it may."""
        limit = self._limits.get(path, 0)
        mark = secrets.token_hex(8)
        return self._fallback.run_with_fallback(
            lambda: (
                int(
                    self._admit(
                        self._key_names(path, caller), [int(self._window_s * _MICROS), limit, mark, _MOST_LOGGED]
                    )
                )
                / _MICROS
            ),
            lambda: max(
                self._local.seconds_halted(path + caller), self._local.try_acquire(path, -(-limit // LOCAL_SHARE))
            ),
        )

    def record_limit(self, path: str, halt_s: float, *, stated_limit: int | None = None) -> None:
        """Halt `path` after a 429 of the address limit, and learn the limit from it.

        Args:
            path: the exact path.
            halt_s: seconds until the service takes requests again; all processes wait for it.
            stated_limit: the limit that the answer names, if any.
        """
        halt = min(halt_s, LONGEST_HALT_S)
        args = [_to_millis(halt), stated_limit or 0, _to_millis(LEARNED_FOR_S)]
        self._fallback.run_with_fallback(
            lambda: self._learn(self._key_names(path), args), lambda: self._local.halt_path(path, halt)
        )

    def halt_path(self, path: str, halt_s: float, *, caller: str = "") -> None:
        """Halt `path` for a rule such as once a day: for `caller` when named, else for all callers."""
        halt = min(halt_s, LONGEST_HALT_S)
        key = self._key_names(path, caller)[3 if caller else 2]
        self._fallback.run_with_fallback(
            lambda: self._halt([key], [_to_millis(halt)]), lambda: self._local.halt_path(path + caller, halt)
        )

    def _key_names(self, path: str, caller: str = "") -> list[str]:
        shared, own = (
            hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
            for name in (path, f"{path} {caller}")
        )
        return [*(f"{self._prefix}{kind}:{shared}" for kind in ("sent", "limit", "halt")), f"{self._prefix}halt:{own}"]


@dataclass(slots=True)
class _Window:
    sent: deque[float] = field(default_factory=deque)
    halted_until: float = 0.0


class LocalWindows:
    """The same limiter within this process, for the 256 most recently used paths.

    Args:
        window_s: length of the sliding window in seconds.
        now: a clock that only goes forward, in seconds.
    """

    def __init__(self, window_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._now = now
        self._lock = threading.Lock()
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def try_acquire(self, path: str, limit: int) -> float:
        """Return 0.0 and count the request when it may be sent, else seconds until it may. A limit of 0 is none."""
        with self._lock:
            window, now = self._touch_window(path), self._now()
            if window.halted_until > now:
                return window.halted_until - now
            while window.sent and window.sent[0] <= now - self._window_s:
                window.sent.popleft()
            if limit and len(window.sent) >= limit:
                return max(window.sent[len(window.sent) - limit] + self._window_s - now, 1e-6)
            if limit:
                window.sent.append(now)
            return 0.0

    def seconds_halted(self, path: str) -> float:
        """Return the seconds for which `path` is halted; counts nothing."""
        with self._lock:
            window = self._windows.get(path)
            return max(window.halted_until - self._now(), 0.0) if window else 0.0

    def halt_path(self, path: str, halt_s: float) -> None:
        """Refuse all requests on `path` for `halt_s` seconds."""
        with self._lock:
            window = self._touch_window(path)
            window.halted_until = max(window.halted_until, self._now() + halt_s)

    def _touch_window(self, path: str) -> _Window:
        window = self._windows.setdefault(path, _Window())
        self._windows.move_to_end(path)
        if len(self._windows) > LOCAL_PATHS:
            self._windows.popitem(last=False)
        return window


def _to_millis(seconds: float) -> int:
    return max(int(seconds * 1_000), 1)


def parse_stated_limit(body: Mapping[str, Any]) -> int | None:
    """Return the limit in a 429's message, such as 60 in "Limit: 60 per 60s"; None when there is none."""
    words = str(body.get("message", "")).replace(".", " ").split()
    for word, following in itertools.pairwise(words):
        if word == "Limit:" and following.isdecimal():
            return int(following[:9]) or None
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Limits that a service is known to have: requests a minute, and amounts. Services announce none in any header.

    Attributes:
        per_address: requests a minute for one exact path and address, which all agents of an egress share; an operation
            or view that is not listed has none.
        per_agent: requests a minute for one agent.
        least: the smallest amount in dollars, by operation.
        most: the largest.
        share: the largest part of the balance, where that is the limit; it moves with the balance.
    """

    per_address: Mapping[str, int] = field(default_factory=dict)
    per_agent: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, Decimal] = field(default_factory=dict)
    most: Mapping[str, Decimal] = field(default_factory=dict)
    share: Mapping[str, Decimal] = field(default_factory=dict)


_KNOWN: Final[Mapping[str, ServiceLimits]] = MappingProxyType(
    {
        "casino": ServiceLimits(
            per_address={"bet": 60, "bets": 60, "export": 60, "register": 10, "join": 10, "withdraw": 5},
            per_agent={"bet": 60},
            least={"bet": Decimal("0.01"), "withdraw": Decimal(1)},
            most={"withdraw": Decimal(100_000)},
            share={"bet": Decimal("0.125")},
        ),
        "escrow": ServiceLimits(
            per_address={"create": 20, "complete": 30, "release": 30, "dispute": 10}, least={"create": Decimal("0.10")}
        ),
        "faucet": ServiceLimits(per_address={"claim": 5}),
        "trading": ServiceLimits(per_address={"open": 30, "close": 30, "join": 10}),
        "wallet": ServiceLimits(per_address={"swap": 30, "send": 20, "join": 10}),
        "domains": ServiceLimits(),
    }
)


def declared_limits(service: Service) -> ServiceLimits:
    """Return the known limits of a service; empty for an unknown one."""
    return _KNOWN.get(service.value, ServiceLimits())
