"""The cache backend interface, and the in-process backend used while Redis is unavailable.

Two rules keep a slow reader from overwriting newer data: loading requires a claim token; an invalidation, or the next
claim, replaces that token; and only the holder of the current token may store an entry.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from agentstate.services.cache.entry import CacheKey, LoadFailure, StoredEntry

LOCAL_ENTRIES = 1_024


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
