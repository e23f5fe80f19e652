"""Cache entries: a state of a service, the time it was requested, and how far it can be relied on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from agentstate.services.cache.reading import Funds, Quality, parse_funds
from agentstate.services.operations.names import Service
from agentstate.services.wire import Body, decode_json

_OF_ANOTHER_TIME_OR_SOURCE = frozenset({Quality.STALE, Quality.FALLBACK})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_LONGEST_FAILURE_US = 60 * _SECOND


class CacheKey(NamedTuple):
    """Identity of an entry: agent, service, and fingerprint of the account that reads it."""

    agent_id: str
    service: Service
    tenant: str


class StoredEntry(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """An entry as a backend stores it; times are microseconds since 1970.

    Attributes:
        as_of: just before the service was asked, by the clock of the host that asked.
        fresh_until: until when it counts as live.
        quality: as it was read.
        reason: why the quality is not live.
        before: of a suspect zero: what was there before, in micro-USDC.
        since: of a suspect zero: when it was first seen.
        content: the state as JSON; decoded anew for each reader.
    """

    as_of: int
    fresh_until: int
    quality: Quality = Quality.LIVE
    reason: str | None = None
    before: int | None = None
    since: int | None = None
    content: msgspec.Raw

    @property
    def state(self) -> Body:
        """A new copy of the state."""
        return decode_json(self.content)

    def is_from_future(self, now_us: int) -> bool:
        """True if a host with a fast clock wrote it: its age cannot be told, so it is not used."""
        return self.as_of > now_us

    def is_live(self, now_us: int) -> bool:
        """Whether it counts as live at `now_us`."""
        return self.as_of <= now_us < self.fresh_until

    def to_bytes(self) -> bytes:
        """Return the entry as JSON, the state unparsed."""
        return _ENCODER.encode(self)

    @classmethod
    def from_bytes(cls, packed: bytes) -> StoredEntry:
        """Parse the result of `to_bytes`."""
        return _STORED.decode(packed)


_ENCODER = msgspec.json.Encoder()
_STORED = msgspec.json.Decoder(StoredEntry)


class LoadFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed read of a service, remembered briefly so that not every reader asks again.

    Attributes:
        until: until when it is remembered, in microseconds since 1970.
        reason: for the reader.
        code: the service's error code when it refused for good, such as for an unknown agent; else None.
    """

    until: int
    reason: str
    code: str | None = None

    def is_remembered(self, now: datetime) -> bool:
        """True while it is remembered; a time beyond the longest one is from a host with a fast clock."""
        return 0 < self.until - to_micros(now) <= _LONGEST_FAILURE_US


class Bounds(NamedTuple):
    """Lower and upper bound of an amount in micro-USDC; `high` is None when unbounded."""

    low: int
    high: int | None

    @property
    def is_exact(self) -> bool:
        """Whether both bounds are equal."""
        return self.low == self.high


class CacheEntry:
    """One agent's state at one service, with its age and quality. Each reader gets its own copy of the state.

    Attributes:
        agent_id: the agent.
        service: the service.
        quality: how far the state can be relied on.
        age_s: seconds between `as_of` and the return of this entry; None when it never answered.
        reason: why it is not live; None when it is.
        before: of a suspect zero: what was there before, in micro-USDC.
    """

    __slots__ = ("_as_of", "_content", "_state", "age_s", "agent_id", "before", "quality", "reason", "service")

    def __init__(
        self,
        key: CacheKey,
        quality: Quality,
        stored: StoredEntry | None = None,
        *,
        now_us: int = 0,
        reason: str | None = None,
    ) -> None:
        self.agent_id, self.service = key.agent_id, key.service
        self.quality, self.reason = quality, reason
        self._as_of: int | None = None
        self.age_s: float | None = None
        self.before: int | None = None
        self._content: msgspec.Raw | None = None
        self._state: Body | None = None
        if stored is not None:
            self._as_of = min(stored.as_of, now_us)
            self.age_s = (now_us - self._as_of) / _SECOND
            self.before = stored.before
            self._content = None if quality is Quality.UNKNOWN else stored.content

    def __repr__(self) -> str:
        age = "" if self.age_s is None else f", {self.age_s:.1f} s old"
        return f"CacheEntry({self.agent_id}, {self.service}, {self.quality}{age})"

    @property
    def as_of(self) -> datetime | None:
        """The moment before the service was asked, UTC; None when it never answered."""
        return None if self._as_of is None else from_micros(self._as_of)

    @property
    def state(self) -> Body | None:
        """The service's state, amounts as Decimal; None when the quality is unknown."""
        if self._state is None and self._content is not None:
            self._state = decode_json(self._content)
        return self._state

    @property
    def funds(self) -> Funds | None:
        """The money in the state; None when it is unknown, which is not 0."""
        return None if self.state is None else parse_funds(self.service, self.state)

    @property
    def bounds(self) -> Bounds:
        """Lower and upper bound of the money that this service adds to a portfolio.

        Exact when the state is live; of a state that is partly known, the lower bound alone; of a suspect zero, what
        was there before; nothing of what is unknown, second-hand or stale: `funds` says what a stale one showed, and
        what came and went since is not known.
        """
        funds = self.funds
        if funds is None or self.quality in _OF_ANOTHER_TIME_OR_SOURCE:
            return Bounds(0, None)
        if self.quality is Quality.PARTIAL:
            return Bounds(funds.worth, None)
        if self.quality is Quality.SUSPECT_ZERO:
            return Bounds(funds.worth, self.before)
        return Bounds(funds.worth, funds.worth)


def to_micros(when: datetime) -> int:
    """Return microseconds since 1970."""
    return (when - _EPOCH) // _MICROSECOND


def from_micros(us: int) -> datetime:
    """Return the UTC time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)
