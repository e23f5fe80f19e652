"""Cache entries: a state of a service with the moment it was asked for, and how far it can be relied on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from agentstate.services.cache.quality import Quality
from agentstate.services.cache.reading import Funds, parse_funds
from agentstate.services.http.json_wire import Body, decode_json
from agentstate.services.operations.names import Service

_OF_ANOTHER_TIME_OR_SOURCE = frozenset({Quality.STALE, Quality.FALLBACK})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000


class CacheKey(NamedTuple):
    """Which entry: whose, where, and by which account of ours it was read."""

    agent_id: str
    service: Service
    tenant: str


class StoredEntry(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a shelf keeps; times are microseconds since 1970.

    Attributes:
        as_of: the moment just before the service was asked.
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
        """The state; every call gives a copy of its own."""
        return decode_json(self.content)

    def to_bytes(self) -> bytes:
        """As bytes, the state as it is."""
        return _ENCODER.encode(self)

    @classmethod
    def from_bytes(cls, packed: bytes) -> StoredEntry:
        """The inverse of `packed`."""
        return _STORED.decode(packed)


_ENCODER = msgspec.json.Encoder()
_STORED = msgspec.json.Decoder(StoredEntry)


class LoadFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a service could not be read a moment ago, remembered briefly so that not everybody asks again.

    Attributes:
        until: until when it is remembered, in microseconds since 1970.
        reason: for the reader.
        code: the service's error code when it refused for good, such as for an unknown agent; else None.
    """

    until: int
    reason: str
    code: str | None = None

    def is_remembered(self, now: datetime) -> bool:
        """Whether it is still remembered."""
        return to_micros(now) < self.until


def failure_until(until: datetime, reason: str, code: str | None) -> LoadFailure:
    """A failure that is remembered until a time."""
    return LoadFailure(until=to_micros(until), reason=reason, code=code)


class Bounds(NamedTuple):
    """The least and the most that something can be, in micro-USDC; `high` is None where nothing bounds it."""

    low: int
    high: int | None

    @property
    def is_exact(self) -> bool:
        """Whether both are the same."""
        return self.low == self.high


class CacheEntry:
    """What is known about one agent at one service. Each reader gets its own copy of the state.

    Attributes:
        agent_id: whose.
        service: where.
        quality: how far it can be relied on.
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
            self._as_of = stored.as_of
            self.age_s = max(now_us - stored.as_of, 0) / _SECOND
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
        """Between which amounts the money lies that this service adds to a portfolio.

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
    """Microseconds since 1970."""
    return (when - _EPOCH) // _MICROSECOND


def from_micros(us: int) -> datetime:
    """The inverse of `micros`."""
    return _EPOCH + timedelta(microseconds=us)
