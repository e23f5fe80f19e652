"""Fallback while Redis is away: work in this process alone, and try Redis again after a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from redis import RedisError

from agentstate.errors import RedisUnavailable

T = TypeVar("T")

RETRY_AFTER_S = 1.0
"""After Redis failed it is left alone for a second, so that a long timeout is not paid at every step."""


class RedisFallback:
    """Uses Redis while it answers.

    Args:
        present: False when there is no Redis at all.
    """

    def __init__(self, *, present: bool = True) -> None:
        self._rests_until = 0.0 if present else float("inf")

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer a moment ago, or there is none."""
        return time.monotonic() < self._rests_until

    def run_with_fallback(self, shared: Callable[[], T], local: Callable[[], T]) -> T:
        """Return the result of `shared`, or that of `local` while Redis is away."""
        if not self.is_away:
            try:
                return shared()
            except (RedisError, RedisUnavailable):
                self._rests_until = time.monotonic() + RETRY_AFTER_S
        return local()
