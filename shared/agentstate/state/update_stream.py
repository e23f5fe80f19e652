"""The newest updates of an agent in a Redis stream, appended in order by any process.

An update's number is its id in the stream, so it is there once however often it is put. After a commit the publisher
brings the stream up to the store; what a publisher that died left behind, the next one brings, or a reader that has
waited for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from agentstate.store.redis_client import redis_unavailable

KEPT = 1_000
"""Entries of one stream, about; older ones are read from the store."""
TTL_S = 86_400
"""A stream that nothing was put into for a day is forgotten."""

# The number of the newest entry, -1 without any. An entry that would leave a hole, or that is there, is not put.
_PUT = """
local top = -1
if redis.call('EXISTS', KEYS[1]) == 1 then
  top = tonumber(string.match(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1], '^%d+'))
end
for i = 4, #ARGV, 2 do
  local seq = tonumber(ARGV[i])
  if top == -1 or seq == top + 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[i] .. '-0', 'update', ARGV[i + 1])
    redis.call('PUBLISH', ARGV[3], ARGV[i + 1])
    top = seq
  end
end
if top ~= -1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return top
"""


class UpdateStream:
    """One agent's stream; `body` is an update as exact JSON. Raises RedisUnavailable when Redis does not answer."""

    def __init__(self, client: Redis, agent_id: str) -> None:
        self._client = client
        self._key = f"as:{{{agent_id}}}:updates"
        self._put = client.register_script(_PUT)

    @property
    def channel(self) -> str:
        """Pub/sub channel of the updates as JSON, for listeners that need no history."""
        return self._key

    def append_missing(self, entries: Sequence[tuple[int, str]]) -> int:
        """Add updates (number, body) in order; the number of the newest there is, -1 when the stream is empty."""
        arguments: list[str | int] = [KEPT, TTL_S, self._key, *(part for entry in entries for part in entry)]
        try:
            return int(self._put(keys=[self._key], args=arguments))
        except RedisError as error:
            raise redis_unavailable(error, "updates are kept in the durable store.") from error

    def read_after(self, seq: int, limit: int, wait_s: float) -> list[str] | None:
        """The updates right after `seq`, oldest first, waiting for the first; None when the stream cannot tell.

        Args:
            seq: the last one seen.
            limit: at most so many.
            wait_s: how long to wait when there is none, under the client's timeout; 0 does not wait.
        """
        try:
            if wait_s <= 0:
                found: Any = self._client.xrange(self._key, min=f"({seq}-0", count=limit)
                entries = list(found)
            else:
                read: Any = self._client.xread({self._key: f"{seq}-0"}, count=limit, block=max(1, int(wait_s * 1_000)))
                streams = list(read.values()) if isinstance(read, dict) else [entries for _key, entries in read or []]
                entries = streams[0] if streams else []
                # The third protocol wraps the entries in one more list.
                entries = list(
                    entries[0] if entries and entries[0] and isinstance(entries[0][0], list | tuple) else entries
                )
        except ResponseError:
            return None
        except RedisError as error:
            raise redis_unavailable(error, "updates are kept in the durable store.") from error
        if entries and int(_decode_text(entries[0][0]).split("-")[0]) != seq + 1:
            return None
        return [_decode_text(fields[b"update"] if b"update" in fields else fields["update"]) for _id, fields in entries]


def _decode_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
