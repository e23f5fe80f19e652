"""Waiting for what cannot be waited for but by looking, long enough that a busy machine fails nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 180.0


def until(condition: Callable[[], T], *, within_s: float = PATIENCE_S, pause_s: float = 0.02) -> T:
    """Look again until `condition` gives something true, and return it; fail after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come about within {within_s:g} s: {condition}"
        time.sleep(pause_s)
    return found
