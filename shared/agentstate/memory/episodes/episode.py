"""An episode: something that happened to an agent, as it is written in Redis and in the archive, and read again.

It is written as one JSON list, so that many of them are read in one step; payload and outcome stay packed until
somebody looks, and every look gives a copy of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import msgspec

from agentstate.errors import InvalidInput
from agentstate.state import codec

WRITTEN_VERSION = 2

_ARRIVAL = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


class Episode(msgspec.Struct, array_like=True, frozen=True, eq=False):
    """Something that happened.

    Attributes:
        version: of the written form.
        agent_id: to whom.
        hex: its id, 32 hexadecimal digits.
        event_type: such as `bet`.
        at_us: when it happened, microseconds since 1970.
        packed: payload and outcome, as a JSON list of our codec.
        revision: how often its outcome was changed.
        kept: False when it was older than everything that is kept in Redis, and so is in the archive alone, or gone.
        degraded: whether Redis was away, and the archive alone has it.
    """

    version: int
    agent_id: str
    hex: str
    event_type: str
    at_us: int
    packed: msgspec.Raw
    revision: int = 0
    kept: bool = True
    degraded: bool = False

    @property
    def id(self) -> UUID:
        """Names it for ever."""
        return UUID(self.hex)

    @property
    def at(self) -> datetime:
        """When it happened, UTC."""
        return moment(self.at_us)

    @property
    def payload(self) -> dict[str, Any]:
        """What happened; Decimal, datetime and the like are as they were."""
        found: dict[str, Any] = codec.loads(bytes(self.packed))[0]
        return found

    @property
    def outcome(self) -> Any:
        """How it ended; None while that is not known."""
        return codec.loads(bytes(self.packed))[1]

    def line(self) -> bytes:
        """As it is written."""
        head = f'[{self.version},"{self.agent_id}","{self.hex}","{self.event_type}",{self.at_us},'
        return b"%b%b,%d]" % (head.encode(), bytes(self.packed), self.revision)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Episode) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self.hex)

    def _told(self) -> tuple[object, ...]:
        return self.agent_id, self.hex, self.event_type, self.at_us, self.revision, bytes(self.packed)


def packed(payload: Any, outcome: Any) -> msgspec.Raw:
    """Both, packed; raises InvalidInput for what cannot be stored exactly."""
    return msgspec.Raw(codec.dumps([payload, outcome]).encode())


def read_members(members: Sequence[bytes | str]) -> list[Episode]:
    """The episodes of members, each of which is an arrival of 16 digits and a line.

    One of another version is left out, and said so in the log; it must not hide the others.
    """
    if members and isinstance(members[0], str):
        members = [_bytes(member) for member in members]
    lines = [member[_ARRIVAL:] for member in cast("Sequence[bytes]", members)]
    try:
        found = _LIST.decode(b"[%b]" % b",".join(lines))
    except msgspec.MsgspecError:
        found = [episode for line in lines if (episode := _read_one(line)) is not None]
    strange = [episode for episode in found if episode.version != WRITTEN_VERSION]
    return [episode for episode in found if _is_known(episode)] if strange else found


def micros(when: datetime) -> int:
    """Microseconds since 1970; raises InvalidInput for a time without zone."""
    if when.tzinfo is None:
        raise InvalidInput(f"the time {when.isoformat()} has no time zone; give UTC. Nothing was recorded.")
    return (when - _EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """The inverse of `micros`."""
    return _EPOCH + us * _MICROSECOND


_LIST = msgspec.json.Decoder(list[Episode])
_ONE = msgspec.json.Decoder(Episode)


def _bytes(member: bytes | str) -> bytes:
    return member.encode() if isinstance(member, str) else member


def _read_one(line: bytes) -> Episode | None:
    try:
        return _ONE.decode(line)
    except msgspec.MsgspecError:
        _log.warning("an episode of an unknown form is left out: %s", line[:60].decode(errors="replace"))
        return None


def _is_known(episode: Episode) -> bool:
    if episode.version == WRITTEN_VERSION:
        return True
    _log.warning("an episode of %s has the unknown version %s and is left out", episode.agent_id, episode.version)
    return False
