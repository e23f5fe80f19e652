"""Where cache entries lie: the interface, and the shelf of one process for while Redis is away.

Two things keep a slow reader from undoing what came after it. Whoever asks a service holds a token; an invalidation,
and the next one who may ask, replace it; and only the holder of the present token may keep an answer.
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
    """What a shelf says to one who would ask the service.

    Attributes:
        token: the right to ask; None when another has it.
        stored: the entry as it is now.
        failure: how the service failed a moment ago.
    """

    token: str | None
    stored: StoredEntry | None
    failure: LoadFailure | None


class CacheBackend(Protocol):
    """Keeps entries. Raises RedisUnavailable when it cannot be reached."""

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """The entry, or None."""

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """The entries of one agent."""

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Look, and take the right to ask the service for `hold_s` seconds when nobody has it."""

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Keep the right for `hold_s` seconds more, if it is still ours."""

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Keep an entry for `keep_s` seconds and give the right back; False when the token is not the present one."""

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Give the right back, and remember the failure if there is one."""

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries of one agent, and let no reader that has begun put one back."""

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, spoiled: list[CacheKey]) -> None:
        """Drop `spoiled` and keep an entry, in one step."""

    def invalidation_epoch(self, agent_id: str) -> str:
        """A mark that changes with every invalidation of the agent's entries."""


@dataclass(slots=True)
class _Slot:
    stored: StoredEntry | None = None
    token: str = ""
    failure: LoadFailure | None = None


class LocalBackend:
    """Entries in this process, at most 1,024, the longest unused leaving first."""

    def __init__(self, size: int = LOCAL_ENTRIES) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._slots: OrderedDict[CacheKey, _Slot] = OrderedDict()
        self._moves = 0

    def load_entry(self, key: CacheKey) -> StoredEntry | None:
        """The entry, or None."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return None
            self._slots.move_to_end(key)
            return slot.stored

    def load_entries(self, keys: list[CacheKey]) -> list[StoredEntry | None]:
        """The entries."""
        return [self.load_entry(key) for key in keys]

    def claim_load(self, key: CacheKey, hold_s: float) -> ClaimResult:
        """Always granted: within one process the flights keep the order."""
        del hold_s
        with self._lock:
            slot = self._slot(key)
            slot.token = _token()
            return ClaimResult(slot.token, slot.stored, slot.failure)

    def renew_claim(self, key: CacheKey, token: str, hold_s: float) -> None:
        """Nothing ends by time here."""

    def store_claimed(self, key: CacheKey, token: str, stored: StoredEntry, keep_s: float) -> bool:
        """Keep an entry; readers judge its age, so nothing leaves by time."""
        del keep_s
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.token != token:
                return False
            slot.stored, slot.failure = stored, None
            return True

    def release_claim(self, key: CacheKey, token: str, failure: LoadFailure | None, keep_s: float) -> None:
        """Remember the failure."""
        del keep_s
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and slot.token == token and failure is not None:
                slot.failure = failure

    def drop_entries(self, keys: list[CacheKey]) -> None:
        """Drop entries."""
        with self._lock:
            self._drop(keys)

    def replace_entry(self, key: CacheKey, stored: StoredEntry, keep_s: float, spoiled: list[CacheKey]) -> None:
        """Drop `spoiled` and keep an entry."""
        del keep_s
        with self._lock:
            self._drop(spoiled)
            self._slot(key).stored = stored

    def invalidation_epoch(self, agent_id: str) -> str:
        """One mark for all agents."""
        del agent_id
        return f"local-{self._moves}"

    def _drop(self, keys: list[CacheKey]) -> None:
        self._moves += 1
        for key in keys:
            self._slots.pop(key, None)

    def _slot(self, key: CacheKey) -> _Slot:
        slot = self._slots.setdefault(key, _Slot())
        self._slots.move_to_end(key)
        if len(self._slots) > self._size:
            self._slots.popitem(last=False)
        return slot


def _token() -> str:
    """Never equal to one of Redis, in case it went away or came back between a reader's steps."""
    return f"local-{secrets.token_hex(8)}"
