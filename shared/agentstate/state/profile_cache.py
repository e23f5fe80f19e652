"""A copy of profiles in Redis that never shows a value after it was replaced.

A writer announces itself before its transaction and clears the copy; while one is announced, and after any write since
a reader looked at the store, nothing is put into the copy. A writer that dies leaves its announcement for 30 seconds:
readers go to the store meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError

WRITING_S = 30
"""How long an announcement counts: longer than any transaction of ours."""
COPY_TTL_S = 300
"""How long the copy lives: at most so old is what is read after a writer that could not reach Redis."""

_WHOLE = "\x00whole"

_ANNOUNCE = """
local now = redis.call('TIME'); local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[2], ms + ARGV[2] * 1000, ARGV[1])
redis.call('SET', KEYS[3], ARGV[1], 'EX', 86400)
redis.call('DEL', KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[2] + 1)
"""
_WITHDRAW = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2], 'EX', 86400)
redis.call('DEL', KEYS[1])
"""
# Fields that are past their time are left out here too: the server may have no time to live for fields.
_READ = """
local now = redis.call('TIME'); local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local found = {}
for first = 1, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[first])
  if value then found[#found + 1] = ARGV[first]; found[#found + 1] = value end
end
if #ARGV == 0 then found = redis.call('HGETALL', KEYS[1]) end
local fresh = {}
for i = 1, #found, 2 do
  local expires = tonumber(string.match(found[i + 1], '^(%d+)|'))
  if expires == 0 or expires > ms then fresh[#fresh + 1] = found[i]; fresh[#fresh + 1] = found[i + 1] end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms)
return {redis.call('GET', KEYS[3]) or '', redis.call('ZCARD', KEYS[2]), redis.call('EXISTS', KEYS[1]), fresh}
"""
_FILL = """
local now = redis.call('TIME'); local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms)
if (redis.call('GET', KEYS[3]) or '') ~= ARGV[1] or redis.call('ZCARD', KEYS[2]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  local expires = string.match(ARGV[i + 1], '^(%d+)|')
  if expires ~= '0' then redis.pcall('HPEXPIREAT', KEYS[1], expires, 'FIELDS', 1, ARGV[i]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Stored:
    """A field as it is stored: exact JSON, its version, and when it expires in Unix milliseconds (0: never)."""

    body: str
    version: int
    expires_ms: int


@dataclass(frozen=True)
class CachedProfile:
    """Result of reading the copy: its fields, and the generation that allows filling it."""

    generation: str | None
    """None while a writer is announced, or Redis is away: the copy must not be filled."""
    fields: dict[str, Stored] | None
    """None when there is no copy."""


class ProfileCache:
    """The copy of one agent's profile; without Redis every look finds nothing."""

    def __init__(self, client: Redis, agent_id: str) -> None:
        key = f"as:{{{agent_id}}}:profile"
        self._keys = [key, f"{key}:writers", f"{key}:generation"]
        self._announce = client.register_script(_ANNOUNCE)
        self._withdraw = client.register_script(_WITHDRAW)
        self._read = client.register_script(_READ)
        self._fill = client.register_script(_FILL)

    def begin_write(self) -> str:
        """Clear the copy and keep it empty until `withdraw`; the writer's token."""
        token = uuid4().hex
        self._ignore_redis_errors(lambda: self._announce(keys=self._keys, args=[token, WRITING_S]))
        return token

    def end_write(self, token: str) -> None:
        """End the write of `token` after its commit."""
        self._ignore_redis_errors(lambda: self._withdraw(keys=self._keys, args=[token, uuid4().hex]))

    def read_copy(self, field: str | None = None) -> CachedProfile:
        """Return the whole copy, or one field of it."""
        try:
            generation, writers, exists, flat = self._read(
                keys=self._keys, args=[] if field is None else [_WHOLE, field]
            )
        except RedisError:
            return CachedProfile(None, None)
        if writers:
            return CachedProfile(None, None)
        if not exists:
            return CachedProfile(_decode_text(generation), None)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        fields = {}
        for name, value in pairs:
            expires, version, body = _decode_text(value).split("|", 2)
            fields[_decode_text(name)] = Stored(body, int(version), int(expires))
        # Without this mark the copy is not what `fill_copy` made: a lone field is no profile.
        is_whole = fields.pop(_WHOLE, None) is not None
        return CachedProfile(_decode_text(generation), fields if is_whole else None)

    def fill_copy(self, generation: str, fields: Mapping[str, Stored]) -> None:
        """Fill the copy, unless there was a write since `generation` was read."""
        arguments: list[str | int] = [generation, COPY_TTL_S]
        for name, stored in [(_WHOLE, Stored("null", 0, 0)), *fields.items()]:
            arguments += [name, f"{stored.expires_ms}|{stored.version}|{stored.body}"]
        self._ignore_redis_errors(lambda: self._fill(keys=self._keys, args=arguments))

    @staticmethod
    def _ignore_redis_errors(call: Callable[[], object]) -> None:
        try:
            call()
        except RedisError:
            return  # the store is the truth; a copy that could not be cleared dies within COPY_TTL_S


def _decode_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
