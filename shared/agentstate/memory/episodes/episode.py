"""An episode: one event of an agent, and its written form, which is the same in the durable store and in Redis.

Episodes are ordered by their time, and those of one instant by their id. The written form is one JSON list, so that
many are decoded in one step; payload and outcome stay packed until they are read, and each read returns a fresh copy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from agentstate.errors import InvalidInput
from agentstate.state import codec

WRITTEN_VERSION = 2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


class Episode(msgspec.Struct, array_like=True, frozen=True, eq=False):
    """One event of an agent.

    Attributes:
        version: version of the written form.
        agent_id: the agent.
        hex: the id, 32 hexadecimal digits.
        event_type: such as `bet`.
        at_us: time of the event, microseconds since 1970.
        packed: payload and outcome, as a JSON list of our codec.
        revision: how many times the outcome was changed.
    """

    version: int
    agent_id: str
    hex: str
    event_type: str
    at_us: int
    packed: msgspec.Raw
    revision: int = 0

    @property
    def id(self) -> UUID:
        """The episode's permanent id."""
        return UUID(self.hex)

    @property
    def at(self) -> datetime:
        """Time of the event, UTC."""
        return from_micros(self.at_us)

    @property
    def payload(self) -> dict[str, Any]:
        """The event's data; Decimal, datetime and the like have their types back."""
        found: dict[str, Any] = codec.loads(bytes(self.packed))[0]
        return found

    @property
    def outcome(self) -> Any:
        """The event's outcome, None while it is unknown."""
        return codec.loads(bytes(self.packed))[1]

    def to_line(self) -> bytes:
        """Return the written form, as stored in Redis."""
        head = f'[{self.version},"{self.agent_id}","{self.hex}","{self.event_type}",{self.at_us},'
        return b"%b%b,%d]" % (head.encode(), bytes(self.packed), self.revision)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Episode) and self.to_line() == other.to_line()

    def __hash__(self) -> int:
        return hash(self.hex)


def pack_content(payload: Any, outcome: Any) -> msgspec.Raw:
    """Pack payload and outcome; raise InvalidInput for a value that cannot be stored exactly."""
    return msgspec.Raw(codec.dumps([payload, outcome]).encode())


def parse_lines(lines: Sequence[bytes | str]) -> list[Episode]:
    """Parse written episodes. One of an unknown form is skipped and logged, so that it does not hide the others."""
    encoded = [line.encode() if isinstance(line, str) else line for line in lines]
    try:
        found = _LIST.decode(b"[%b]" % b",".join(encoded))
    except msgspec.MsgspecError:
        found = []
        for line in encoded:
            try:
                found.append(_ONE.decode(line))
            except msgspec.MsgspecError:
                _log.warning("skipped an episode of an unknown form: %s", line[:60].decode(errors="replace"))
    known = [episode for episode in found if episode.version == WRITTEN_VERSION]
    if len(known) < len(found):
        _log.warning("skipped %d episodes of an unknown version", len(found) - len(known))
    return known


def to_micros(when: datetime) -> int:
    """Return microseconds since 1970; raise InvalidInput for a time without a zone."""
    if when.tzinfo is None:
        raise InvalidInput(f"the time {when.isoformat()} has no time zone; give UTC. Nothing was recorded.")
    return (when - _EPOCH) // _MICROSECOND


def from_micros(us: int) -> datetime:
    """Return the UTC time of `us` microseconds since 1970."""
    return _EPOCH + us * _MICROSECOND


_LIST = msgspec.json.Decoder(list[Episode])
_ONE = msgspec.json.Decoder(Episode)
