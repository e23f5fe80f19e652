"""Bulk work in slices: as long as a slice finds something, until the deadline or until this process is to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from agentstate.runtime import Runtime


def repeat_until_done(runtime: Runtime, deadline_s: float, take_slice: Callable[[], int]) -> None:
    """Call `take_slice` until it returns 0 or the deadline passes; the next wake-up does the rest."""
    until = time.monotonic() + deadline_s
    while not runtime.stopping.is_set() and time.monotonic() < until:
        if take_slice() == 0:
            return
