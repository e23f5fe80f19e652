"""Cache entries in Redis, for all processes: every change is one script, so no two of them mix.

Keys of an entry: `as:{<agent>}:state:<tenant>:<service>` is the entry itself, `…:token` the right to keep an answer,
`…:asking` who asks now, `…:failed` how it failed a moment ago. All end by themselves.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from redis import Redis, RedisError

from agentstate.errors import RedisUnavailable
from agentstate.services.cache.backend import ClaimResult
from agentstate.services.cache.entry import CacheKey, LoadFailure, StoredEntry
from agentstate.store.bare import run_command

TOKEN_KEPT_MS = 3_600_000
"""A token is needed by a reader in flight, which ends within seconds; an hour is ample. Without it nothing is kept."""

_FAILURES = msgspec.json.Decoder(LoadFailure)

# KEYS: entry, token, asking, failed.
_CLAIM = """
local found = redis.call('GET', KEYS[1])
local failed = redis.call('GET', KEYS[4])
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then return {0, found, failed} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return {1, found, failed}
"""
_HOLD = "if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end"
_KEEP = """
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[4])
return 1
"""
_FAIL = """
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] and ARGV[2] ~= '' then redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3]) end
"""
# KEYS: the mark of moves, then four of each entry that is spoiled. ARGV: mark and its time, then an entry to keep.
_DROP = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for first = 2, #KEYS, 4 do
  redis.call('DEL', KEYS[first], KEYS[first + 2], KEYS[first + 3])
  redis.call('SET', KEYS[first + 1], ARGV[1], 'PX', ARGV[2])
end
if ARGV[3] then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
"""


class RedisBackend:
    """Entries in Redis.

    Args:
        client: a synchronous client; its timeouts bound every call.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._scripts = {text: client.register_script(text) for text in (_CLAIM, _HOLD, _KEEP, _FAIL, _DROP)}

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """The entry, or None."""
        try:
            return _stored(run_command(self._client, "GET", _name(key)))
        except RedisError as error:
            raise _away(error) from error

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """The entries of one agent, which lie in one slot."""
        try:
            return [_stored(found) for found in self._client.mget([_name(key) for key in keys])]
        except RedisError as error:
            raise _away(error) from error

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Look, and take the right to ask when nobody has it."""
        token = secrets.token_hex(16)
        granted, found, failed = self._run(_CLAIM, _keys(key), token, _millis(hold_s), TOKEN_KEPT_MS)
        failure = None if failed is None else _FAILURES.decode(failed)
        return ClaimResult(token if granted else None, _stored(found), failure)

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Keep the right for longer."""
        self._run(_HOLD, _keys(key), token, _millis(hold_s))

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Keep an entry and give the right back."""
        return bool(self._run(_KEEP, _keys(key), token, stored.to_bytes(), _millis(keep_s)))

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Give the right back, and remember the failure."""
        content = b"" if failure is None else msgspec.json.encode(failure)
        self._run(_FAIL, _keys(key), token, content, _millis(keep_s))

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent."""
        self._drop(keys)

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, spoiled: list[CacheKey]) -> None:
        """Drop `spoiled` and keep an entry, in one step."""
        self._drop([key, *(other for other in spoiled if other != key)], stored.to_bytes(), _millis(keep_s))

    def invalidation_epoch(self, agent_id: str) -> str:
        """A mark that changes with every invalidation."""
        try:
            return str(self._client.get(_moved(agent_id)))
        except RedisError as error:
            raise _away(error) from error

    def _drop(self, keys: list[CacheKey], *entry: Any) -> None:
        names = [name for key in keys for name in _keys(key)]
        self._run(_DROP, [_moved(keys[0].agent_id), *names], secrets.token_hex(16), TOKEN_KEPT_MS, *entry)

    def _run(self, script: str, keys: list[str], *arguments: Any) -> Any:
        try:
            return self._scripts[script](keys, arguments)
        except RedisError as error:
            raise _away(error) from error


def _name(key: CacheKey) -> str:
    return f"as:{{{key.agent_id}}}:state:{key.tenant}:{key.service.value}"


def _keys(key: CacheKey) -> list[str]:
    name = _name(key)
    return [name, f"{name}:token", f"{name}:asking", f"{name}:failed"]


def _moved(agent_id: str) -> str:
    return f"as:{{{agent_id}}}:state:moved"


def _stored(packed: bytes | str | None) -> StoredEntry | None:
    return None if packed is None else StoredEntry.from_bytes(packed.encode() if isinstance(packed, str) else packed)


def _millis(seconds: float) -> int:
    return max(int(seconds * 1_000), 1)


def _away(error: RedisError) -> RedisUnavailable:
    return RedisUnavailable(f"Redis does not answer ({type(error).__name__}); states are read from the services.")
