"""Episodic memory: what happened to an agent lately, newest first, in Redis.

Every change is one script on the server, so that an episode, its place among its type, what it pushes out and the time
to live of the keys are one step. Times are whole microseconds, which a sorted set holds exactly. Over the limit, the
oldest episode of the most frequent type goes: a flood of ticks pushes out ticks and not the one open escrow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import redis

from agentstate.clock import Clock, utc_now
from agentstate.errors import InvalidInput, RedisUnavailable, TooLarge
from agentstate.ids import checked_name, new_id
from agentstate.settings import Settings
from agentstate.state import codec

FUTURE = timedelta(days=1)
"""How far ahead of this machine's clock an episode may be; a time in the wrong unit would stay newest for ever."""
WRITTEN_VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_log = logging.getLogger(__name__)

# A member is "<number of arrival>|<type>|<id>": equal times keep their order, and a member tells its type.
_DROP = """
local function drop(member)
  local kind = string.match(member, '^%d+|([^|]*)|')
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], member)
  redis.call('ZREM', ARGV[1] .. kind, member)
  if tonumber(redis.call('ZINCRBY', KEYS[3], -1, kind)) <= 0 then redis.call('ZREM', KEYS[3], kind) end
end
"""

_RECORD = (
    _DROP
    + """
local prefix, kind, id, at, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local kept, ttl, cutoff = tonumber(ARGV[6]), ARGV[7], ARGV[8]
local member = string.format('%016d|%s|%s', redis.call('INCR', KEYS[4]), kind, id)
redis.call('ZADD', KEYS[1], at, member)
redis.call('HSET', KEYS[2], member, body)
redis.call('ZADD', prefix .. kind, at, member)
redis.call('ZINCRBY', KEYS[3], 1, kind)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. cutoff, 'LIMIT', 0, 100)) do drop(old) end
while redis.call('ZCARD', KEYS[1]) > kept do
  local largest = redis.call('ZREVRANGE', KEYS[3], 0, 0)[1]
  local victim = largest and redis.call('ZRANGE', prefix .. largest, 0, 0)[1]
  if not victim then
    if largest then redis.call('ZREM', KEYS[3], largest) end
    victim = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  end
  drop(victim)
end
for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[4], prefix .. kind}) do redis.call('EXPIRE', key, ttl) end
return redis.call('HEXISTS', KEYS[2], member)
"""
)

_RECENT = """
local members = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[2], 'LIMIT', 0, ARGV[1])
local bodies = {}
for first = 1, #members, 1000 do
  local last = math.min(first + 999, #members)
  for _, body in ipairs(redis.call('HMGET', KEYS[2], unpack(members, first, last))) do
    if body then bodies[#bodies + 1] = body end
  end
end
return bodies
"""

_SUMMARIZE = """
local answer = {}
for _, kind in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local count = redis.call('ZCOUNT', ARGV[1] .. kind, ARGV[2], '+inf')
  if count > 0 then answer[#answer + 1] = kind; answer[#answer + 1] = count end
end
local first = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, 1)
return {answer, first[2] or '', last[2] or ''}
"""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Something that happened."""

    id: UUID
    agent_id: str
    event_type: str
    payload: dict[str, Any]
    outcome: Any
    at: datetime
    kept: bool = True
    """False when it was older than everything that is kept, and so was not."""


class EpisodicStore:
    """The recent episodes of one agent. Safe to share between threads."""

    def __init__(self, client: redis.Redis, agent_id: str, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.agent_id = checked_name(agent_id)
        self._clock = clock
        self._kept = settings.episodes_kept
        self._ttl_s = settings.episodes_ttl_s
        self._max_bytes = settings.max_payload_bytes
        self._prefix = f"as:{{{agent_id}}}:episodes:"
        self._types_prefix = f"{self._prefix}type:"
        self._record = client.register_script(_RECORD)
        self._recent = client.register_script(_RECENT)
        self._summarize = client.register_script(_SUMMARIZE)
        self._client = client

    def record(
        self, event_type: str, payload: dict[str, Any], outcome: Any = None, *, at: datetime | None = None
    ) -> Episode:
        """Add an episode; two equal ones at one instant stay two.

        Args:
            event_type: a name such as `bet` or `escrow_open`.
            payload: what happened; Decimal, datetime and the like come back as they are.
            outcome: how it ended, when that is known.
            at: when it happened, aware; now when left out.

        Raises:
            InvalidInput: the type, the payload or the time is refused; TooLarge: payload and outcome are over
            `max_payload_bytes`. RedisUnavailable: Redis does not answer; whether it was recorded is unknown.
        """
        episode = self._checked(event_type, payload, outcome, at)
        keys = [self._key(name) for name in ("all", "body", "types", "arrived")]
        moment, cutoff = _micros(episode.at), _micros(self._oldest())
        body = self._body(episode)
        with _translated():
            kept = self._record(
                keys=keys,
                args=[
                    *(self._types_prefix, event_type, str(episode.id), moment, body),
                    *(self._kept, self._ttl_s, cutoff),
                ],
            )
        return episode if kept else replace(episode, kept=False)

    def get_recent(self, n: int = 50, event_type: str | None = None) -> list[Episode]:
        """The newest `n` episodes, newest first; of one type when named: the newest `n` of that type.

        Raises:
            InvalidInput: `n` is negative. RedisUnavailable: Redis does not answer.
        """
        if n < 0:
            raise InvalidInput(f"n is {n}; it must be 0 or more.")
        if n == 0:
            return []
        key = self._key("all") if event_type is None else self._types_prefix + checked_name(event_type, "event type")
        with _translated():
            bodies = self._recent(keys=[key, self._key("body")], args=[n, _micros(self._oldest())])
        return list(self._readable(bodies))

    def summarize_window(self, since: datetime) -> dict[str, Any]:
        """Counts of the episodes from `since` on.

        Returns:
            `total_events`, `by_type` (name to count), `first_at` and `last_at` (None without any), and
            `time_span_hours` between those two.
        """
        begin = _micros(max(_aware(since), self._oldest()))
        with _translated():
            flat, first, last = self._summarize(
                keys=[self._key("all"), self._key("types")], args=[self._types_prefix, begin]
            )
        by_type = {_text(kind): int(count) for kind, count in zip(flat[::2], flat[1::2], strict=True)}
        span = (_moment(first), _moment(last))
        return {
            "total_events": sum(by_type.values()),
            "by_type": by_type,
            "first_at": span[0],
            "last_at": span[1],
            "time_span_hours": (span[1] - span[0]) / timedelta(hours=1) if span[0] and span[1] else 0.0,
        }

    def count(self) -> int:
        """How many episodes are there."""
        with _translated():
            return int(self._client.zcount(self._key("all"), _micros(self._oldest()), "+inf"))

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _oldest(self) -> datetime:
        return self._clock() - timedelta(seconds=self._ttl_s)

    def _checked(self, event_type: str, payload: dict[str, Any], outcome: Any, at: datetime | None) -> Episode:
        checked_name(event_type, "event type")
        if not isinstance(payload, dict):
            raise InvalidInput(f"the payload is {type(payload).__name__}, not a dict. Nothing was recorded.")
        now = self._clock()
        moment = now if at is None else _aware(at)
        if moment > now + FUTURE:
            raise InvalidInput(f"the time {moment.isoformat()} is in the future. Nothing was recorded.")
        return Episode(
            id=new_id(), agent_id=self.agent_id, event_type=event_type, payload=payload, outcome=outcome, at=moment
        )

    def _body(self, episode: Episode) -> str:
        body = codec.dumps(
            {
                "v": WRITTEN_VERSION,
                "id": str(episode.id),
                "type": episode.event_type,
                "at": _micros(episode.at),
                "payload": episode.payload,
                "outcome": episode.outcome,
            }
        )
        if (size := len(body.encode())) > self._max_bytes:
            raise TooLarge(
                f"the episode has {size:,} bytes, over the limit of {self._max_bytes:,} "
                "(AGENTSTATE_MAX_PAYLOAD_BYTES). Nothing was recorded."
            )
        return body

    def _readable(self, bodies: list[bytes | str]) -> Iterator[Episode]:
        """What this version can read. One record of a newer version must not hide all others."""
        for body in bodies:
            fields = codec.loads(body)
            if fields.get("v") == WRITTEN_VERSION:
                yield self._episode(fields)
            else:
                _log.warning(
                    "an episode of %s has the unknown version %s and is left out", self.agent_id, fields.get("v")
                )

    def _episode(self, fields: dict[str, Any]) -> Episode:
        return Episode(
            id=UUID(fields["id"]),
            agent_id=self.agent_id,
            event_type=fields["type"],
            payload=fields["payload"],
            outcome=fields["outcome"],
            at=_EPOCH + fields["at"] * _MICROSECOND,
        )


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(f"the time {moment.isoformat()} has no time zone; give UTC. Nothing was recorded.")
    return moment.astimezone(UTC)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(score: bytes | str) -> datetime | None:
    return _EPOCH + int(float(score)) * _MICROSECOND if score else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError) as error:
        raise RedisUnavailable(f"Redis does not answer ({error}); durable state is unaffected.") from error
