"""The copy of each agent's newest episodes in Redis: a sorted set with a lifetime, which may be lost at any time.

A reader that finds no copy reads the durable store and fills the copy, unless an episode was recorded or the agent was
forgotten meanwhile: the generation tells. A writer adds to a copy only if there is one, so a copy is never a part of
the past with a hole in it. A copy expires a while after it was filled, however often it is used: so much a missed write
can cost, such as that of a process that died between its commit and the copy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final
from uuid import uuid4

import redis

from agentstate.errors import RedisUnavailable
from agentstate.memory.episodes.episode import Episode, parse_lines
from agentstate.store.redis_client import redis_unavailable, run_command, run_script

COPY_TTL_S: Final = 300
"""Seconds from the filling of a copy to its end."""
GENERATION_TTL_S: Final = 86_400
REST_S: Final = 1.0
"""Redis is not asked again for so many seconds after it did not answer."""
PUSHED_AT_ONCE: Final = 500


# KEYS: the copy, its generation, the number up to which rows are forgotten. The copy's first member, with the score -1,
# is a mark, so that the copy of an agent without episodes can be told from none.
# ARGV: generation, its lifetime, episodes kept, number of the newest row, then id, revision, time and line of each.
_PUSH = """
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(ARGV[4]) <= tonumber(redis.call('GET', KEYS[3]) or -1) then return 0 end
for i = 5, #ARGV, 4 do
  local id, revision, at, line = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local newest = true
  if revision > 0 then
    local head = string.sub(line, 1, string.find(line, id, 1, true) + #id)
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], at, at)) do
      if string.sub(other, 1, #head) == head then
        if tonumber(string.match(other, ',(%d+)%]$') or 0) < revision then
          redis.call('ZREM', KEYS[1], other)
        else
          newest = false
        end
      end
    end
  end
  if newest then redis.call('ZADD', KEYS[1], at, line) end
end
return redis.call('ZREMRANGEBYRANK', KEYS[1], 1, -ARGV[3] - 1)
"""
# ARGV: a new generation, its lifetime. Returns the generation in force.
_BEGIN = """
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2], 'NX')
return redis.call('GET', KEYS[2])
"""
# ARGV: the generation in which the rows were read, the copy's lifetime, then time and line of each.
_FILL = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZADD', KEYS[1], -1, '-')
for i = 3, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
# ARGV: a new generation, its lifetime, the number of the newest forgotten row (-1: none). Returns how many went.
_DROP = """
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
if tonumber(ARGV[3]) >= 0 then redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[2]) end
local had = math.max(redis.call('ZCARD', KEYS[1]) - 1, 0)
redis.call('DEL', KEYS[1])
return had
"""


class RecentEpisodes:
    """The copies of all agents' newest episodes. Safe to share between threads.

    Args:
        client: a synchronous client with timeouts, for text or bytes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._push = client.register_script(_PUSH)
        self._begin = client.register_script(_BEGIN)
        self._fill = client.register_script(_FILL)
        self._drop = client.register_script(_DROP)
        self._away_until = 0.0
        self._outdated: set[str] = set()
        self._lock = threading.Lock()

    def push_episodes(self, agent_id: str, episodes: Sequence[Episode], newest_seq: int, *, kept: int) -> None:
        """Add committed episodes of one agent to its copy, if there is one.

        When Redis does not answer, the copy is dropped before this process uses it again.

        Args:
            agent_id: the agent.
            episodes: the episodes.
            newest_seq: the highest number of their rows.
            kept: how many episodes the copy has at most.
        """
        head: list[str | bytes | int] = [uuid4().hex, GENERATION_TTL_S, kept, newest_seq]
        try:
            with self._require_redis(agent_id):
                for first in range(0, len(episodes), PUSHED_AT_ONCE):
                    arguments = [*head]
                    for each in episodes[first : first + PUSHED_AT_ONCE]:
                        arguments += [each.hex, each.revision, each.at_us, each.to_line()]
                    run_script(self._client, self._push, _redis_keys(agent_id), arguments)
        except RedisUnavailable:
            with self._lock:
                self._outdated.add(agent_id)

    def read_copy(self, agent_id: str, limit: int, from_us: int) -> list[Episode] | None:
        """Return the newest episodes from a time on, newest first; None without a copy.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        key = _redis_keys(agent_id)[0]
        with self._require_redis(agent_id):
            lines = run_command(self._client, "ZREVRANGEBYSCORE", key, "+inf", from_us, "LIMIT", 0, limit)
            if not lines:
                # Either there is no copy, or it has nothing so young: in one step, as another may be filling it.
                with self._client.pipeline(transaction=True) as pipe:
                    pipe.exists(key)
                    pipe.zrevrangebyscore(key, "+inf", from_us, 0, limit)
                    exists, lines = pipe.execute()
                if not exists:
                    return None
        found = parse_lines(lines)
        # The first revision may come after a later one, from a slower process: then there are both.
        if any(each.revision for each in found) and len({each.hex for each in found}) < len(found):
            self.drop_copy(agent_id)
            return None
        return found

    def fill_copy(self, agent_id: str, load: Callable[[], Sequence[Episode]]) -> Sequence[Episode]:
        """Return the episodes that `load` reads from the durable store, and make them the copy if it may be.

        Raises:
            RedisUnavailable: Redis did not answer before `load` was called.
        """
        keys = _redis_keys(agent_id)
        with self._require_redis(agent_id):
            generation = run_script(self._client, self._begin, keys, [uuid4().hex, GENERATION_TTL_S])
        found = load()
        arguments: list[str | bytes | int] = [generation, COPY_TTL_S]
        for each in found:
            arguments += [each.at_us, each.to_line()]
        try:
            with self._require_redis(agent_id):
                run_script(self._client, self._fill, keys, arguments)
        except RedisUnavailable:
            return found
        return found

    def drop_copy(self, agent_id: str, *, forgotten_to: int = -1) -> int:
        """Remove an agent's copy; return how many episodes it had.

        Args:
            agent_id: the agent.
            forgotten_to: rows up to this number are forgotten and never enter a copy again.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with self._translate_errors():
            arguments: list[str | bytes | int] = [uuid4().hex, GENERATION_TTL_S, forgotten_to]
            return int(run_script(self._client, self._drop, _redis_keys(agent_id), arguments))

    def count_copy(self, agent_id: str) -> int:
        """Return how many episodes an agent's copy has, 0 without one; raise RedisUnavailable."""
        with self._translate_errors():
            return max(int(self._client.zcard(_redis_keys(agent_id)[0])) - 1, 0)

    @contextmanager
    def _require_redis(self, agent_id: str) -> Iterator[None]:
        """Raise RedisUnavailable at once while Redis rests, and drop a copy that missed a write of this process."""
        if time.monotonic() < self._away_until:
            raise RedisUnavailable("Redis did not answer a moment ago; durable state is unaffected.")
        if agent_id in self._outdated:
            self.drop_copy(agent_id)
            with self._lock:
                self._outdated.discard(agent_id)
        with self._translate_errors():
            yield

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            self._away_until = time.monotonic() + REST_S
            raise redis_unavailable(error, "durable state is unaffected.") from error


@lru_cache(maxsize=4_096)
def _redis_keys(agent_id: str) -> tuple[str, ...]:
    prefix = f"as:{{{agent_id}}}:episodes:"
    return tuple(prefix + name for name in ("recent", "generation", "forgotten"))
