"""Backends of the state cache: the in-process one, and Redis, shared by all processes, which falls back to it.

Two rules keep a slow reader from overwriting newer data: loading requires a claim token; an invalidation, or the next
claim, replaces that token; and only the holder of the current token may store an entry. In Redis every change is one
script, so changes are atomic. Keys of an entry, all of which expire: `as:{<agent>}:state:<tenant>:<service>` is the
entry itself, `...:token` the token that may store it, `...:asking` the current claim, `...:failed` the last failure.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from redis import Redis, RedisError

from agentstate.errors import InvalidInput
from agentstate.services.cache.entry import CacheKey, LoadFailure, StoredEntry
from agentstate.store.redis_client import RedisFallback, redis_unavailable, run_command

LOCAL_ENTRIES = 1_024
_KEPT = "states are read from the services."


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """Answer to a request for the right to load an entry.

    Attributes:
        token: proof of the right to load; None when another process holds it.
        stored: the current entry.
        failure: the service's last failure, while it is remembered.
    """

    token: str | None
    stored: StoredEntry | None
    failure: LoadFailure | None


class CacheBackend(Protocol):
    """Storage of entries. Every method raises RedisUnavailable when the storage cannot be reached."""

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """Return the entry, or None."""

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """Return the entries of one agent, in the order of `keys`."""

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Return the current entry, and take the right to load it for `hold_s` seconds when it is free."""

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Extend the claim by `hold_s` seconds if `token` still holds it."""

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Store an entry for `keep_s` seconds and release the claim; False when `token` is no longer current."""

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Release the claim, and remember `failure` if there is one."""

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent, and revoke the claims of readers that are loading them."""

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, invalidated: list[CacheKey]) -> None:
        """Drop `invalidated` and store an entry, in one step."""

    def invalidation_epoch(self, agent_id: str) -> str:
        """Return a value that changes with every invalidation of the agent's entries."""


@dataclass(slots=True)
class _Slot:
    stored: StoredEntry | None = None
    token: str = ""
    failure: LoadFailure | None = None


class LocalBackend:
    """Entries of this process alone: at most 1,024, the least recently used are dropped first."""

    def __init__(self, size: int = LOCAL_ENTRIES) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._slots: OrderedDict[CacheKey, _Slot] = OrderedDict()
        self._invalidations = 0

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """Return the entry, or None."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return None
            self._slots.move_to_end(key)
            return slot.stored

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """Return the entries in the order of `keys`."""
        return [self.load_entry(key) for key in keys]

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Grant the claim; within one process the single-flight lock serialises the readers."""
        del hold_s
        with self._lock:
            slot = self._touch_slot(key)
            # Never equal to a token of Redis, in case Redis fails or returns between two steps of a reader.
            slot.token = f"local-{secrets.token_hex(8)}"
            return ClaimResult(slot.token, slot.stored, slot.failure)

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Do nothing: a claim within a process does not expire."""

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Store an entry; readers judge its age, so nothing expires here."""
        del keep_s
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.token != token:
                return False
            slot.stored, slot.failure = stored, None
            return True

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Remember `failure` if there is one."""
        del keep_s
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and slot.token == token and failure is not None:
                slot.failure = failure

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries and revoke their claims."""
        with self._lock:
            self._drop_slots(keys)

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, invalidated: list[CacheKey]) -> None:
        """Drop `invalidated` and store an entry."""
        del keep_s
        with self._lock:
            self._drop_slots(invalidated)
            self._touch_slot(key).stored = stored

    def invalidation_epoch(self, agent_id: str) -> str:
        """Return the number of invalidations in this process, of any agent."""
        del agent_id
        return f"local-{self._invalidations}"

    def _drop_slots(self, keys: list[CacheKey]) -> None:
        self._invalidations += 1
        for key in keys:
            self._slots.pop(key, None)

    def _touch_slot(self, key: CacheKey) -> _Slot:
        """Return the key's slot, made if needed, as the most recently used one; the oldest one may be dropped."""
        slot = self._slots.setdefault(key, _Slot())
        self._slots.move_to_end(key)
        if len(self._slots) > self._size:
            self._slots.popitem(last=False)
        return slot


T = TypeVar("T")

MOST_OWED = 10_000
"""Invalidations that are kept for Redis while it is away; beyond, an entry is left to its time to live."""

TOKEN_KEPT_MS = 3_600_000
"""Tokens outlive any read in flight, which takes seconds. Without its token an answer is not stored."""

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
# KEYS: the epoch, then four per invalidated entry. ARGV: new epoch and its lifetime in ms, then an entry and its own.
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
        """Return the entry, or None."""
        try:
            return _parse_entry(run_command(self._client, "GET", _entry_name(key)))
        except RedisError as error:
            raise redis_unavailable(error, _KEPT) from error

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """Return the entries of one agent, which share a hash slot."""
        try:
            return [_parse_entry(found) for found in self._client.mget([_entry_name(key) for key in keys])]
        except RedisError as error:
            raise redis_unavailable(error, _KEPT) from error

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Return the current entry, and take the right to load it when it is free."""
        token = secrets.token_hex(16)
        granted, found, failed = self._run_script(_CLAIM, _key_names(key), token, _millis(hold_s), TOKEN_KEPT_MS)
        failure = None if failed is None else _FAILURES.decode(failed)
        return ClaimResult(token if granted else None, _parse_entry(found), failure)

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Extend the claim."""
        self._run_script(_HOLD, _key_names(key), token, _millis(hold_s))

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Store an entry and release the claim."""
        return bool(self._run_script(_KEEP, _key_names(key), token, stored.to_bytes(), _millis(keep_s)))

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Release the claim, and remember the failure."""
        content = b"" if failure is None else msgspec.json.encode(failure)
        self._run_script(_FAIL, _key_names(key), token, content, _millis(keep_s))

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent."""
        self._invalidate(keys)

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, invalidated: list[CacheKey]) -> None:
        """Drop `invalidated` and store an entry, in one step."""
        self._invalidate([key, *(other for other in invalidated if other != key)], stored.to_bytes(), _millis(keep_s))

    def invalidation_epoch(self, agent_id: str) -> str:
        """Return a value that changes with every invalidation."""
        try:
            return str(self._client.get(_epoch_name(agent_id)))
        except RedisError as error:
            raise redis_unavailable(error, _KEPT) from error

    def _invalidate(self, keys: list[CacheKey], *entry: Any) -> None:
        names = [name for key in keys for name in _key_names(key)]
        self._run_script(_DROP, [_epoch_name(keys[0].agent_id), *names], secrets.token_hex(16), TOKEN_KEPT_MS, *entry)

    def _run_script(self, script: str, keys: list[str], *arguments: Any) -> Any:
        try:
            return self._scripts[script](keys, arguments)
        except RedisError as error:
            raise redis_unavailable(error, _KEPT) from error


class FallbackBackend:
    """Redis while it answers, else the in-process backend.

    An invalidation that Redis missed is owed to it, and applied before this process uses Redis again.

    Args:
        redis: a synchronous client with timeouts; None uses the in-process backend alone.
    """

    def __init__(self, redis: Redis | None) -> None:
        if redis is not None and not isinstance(redis, Redis):
            raise InvalidInput(
                f"a synchronous Redis client is needed, not {type(redis).__name__}; see AsyncStateCache."
            )
        self._local = LocalBackend()
        self._redis = None if redis is None else RedisBackend(redis)
        self._fallback = RedisFallback(present=redis is not None)
        self._owed: set[CacheKey] = set()
        self._owed_lock = threading.Lock()

    @property
    def is_away(self) -> bool:
        """Whether only the in-process backend is in use now."""
        return self._fallback.is_away

    def call_backend(self, action: Callable[[CacheBackend], T]) -> T:
        """Run `action` on the backend in use."""
        redis = self._redis
        if redis is None:
            return action(self._local)
        return self._fallback.run_with_fallback(lambda: self._call_redis(redis, action), lambda: action(self._local))

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """Return the entry, or None."""
        return self.call_backend(lambda backend: backend.load_entry(key))

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent in both backends; in Redis later if it is away."""
        self._local.drop_entries(keys)
        redis = self._redis
        if redis is not None:
            self._fallback.run_with_fallback(
                lambda: self._call_redis(redis, lambda backend: backend.drop_entries(keys)),
                lambda: self._owe_invalidation(keys),
            )

    def _call_redis(self, redis: RedisBackend, action: Callable[[CacheBackend], T]) -> T:
        """Run `action` on Redis, once the invalidations that it missed are applied."""
        if self._owed:
            with self._owed_lock:  # other threads wait, so that none reads an entry that is about to be dropped
                by_agent: dict[str, list[CacheKey]] = {}
                for key in self._owed:
                    by_agent.setdefault(key.agent_id, []).append(key)
                for keys in by_agent.values():
                    redis.drop_entries(keys)
                self._owed.clear()
        return action(redis)

    def _owe_invalidation(self, keys: Iterable[CacheKey]) -> None:
        with self._owed_lock:
            self._owed.update(itertools.islice(keys, max(MOST_OWED - len(self._owed), 0)))


def _entry_name(key: CacheKey) -> str:
    return f"as:{{{key.agent_id}}}:state:{key.tenant}:{key.service.value}"


def _key_names(key: CacheKey) -> list[str]:
    name = _entry_name(key)
    return [name, f"{name}:token", f"{name}:asking", f"{name}:failed"]


def _epoch_name(agent_id: str) -> str:
    return f"as:{{{agent_id}}}:state:epoch"


def _parse_entry(packed: bytes | str | None) -> StoredEntry | None:
    return None if packed is None else StoredEntry.from_bytes(packed.encode() if isinstance(packed, str) else packed)


def _millis(seconds: float) -> int:
    return max(int(seconds * 1_000), 1)
