"""Cache entries: a state of a service with the moment it was asked for, and how far it can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from agentstate.services.names import Service
from agentstate.services.reading import Funds, funds_of
from agentstate.services.wire import Body
from agentstate.state.codec import dumps, loads

_SEPARATOR = "|"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Quality(StrEnum):
    """How far an entry can be relied on."""

    LIVE = "live"
    """Asked for within the service's time to live."""

    STALE = "stale"
    """Older, and the service could not be asked; within the limit for stale entries."""

    UNKNOWN = "unknown"
    """Nothing is known that is young enough. There is no state; `as_of` tells of when the last one was."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a shelf keeps: a state and the moment just before it was asked for."""

    as_of: datetime
    state: Body

    def to_text(self) -> str:
        """Microseconds since 1970, a bar, and the state as exact JSON; the number alone tells which is newer."""
        return f"{(self.as_of - _EPOCH) // timedelta(microseconds=1)}{_SEPARATOR}{dumps(self.state)}"

    @classmethod
    def from_text(cls, text: str) -> Stored:
        """The inverse of `to_text`."""
        microseconds, _, state = text.partition(_SEPARATOR)
        return cls(_EPOCH + timedelta(microseconds=int(microseconds)), loads(state))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What is known about one agent at one service. Each reader gets its own copy of the state.

    Attributes:
        agent_id: whose.
        service: where.
        quality: how far it can be relied on.
        state: the service's state, amounts as Decimal; None when the quality is unknown.
        as_of: the moment before the service was asked, UTC; None when it never answered.
        age_s: seconds between `as_of` and the return of this entry; None when it never answered.
        reason: why it is not live; None when it is.
    """

    agent_id: str
    service: Service
    quality: Quality
    state: Body | None = None
    as_of: datetime | None = None
    age_s: float | None = None
    reason: str | None = None

    @property
    def funds(self) -> Funds | None:
        """The money in the state; None when it is unknown, which is not 0."""
        return None if self.state is None else funds_of(self.service, self.state)
