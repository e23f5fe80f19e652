"""Two things timed in turn, so that a noisy machine is equally unkind to both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Compared:
    """Seconds per call of both sides (medians), and the median over the rounds of ours divided by the reference's."""

    ours_s: float
    reference_s: float
    ratio: float


def compare(
    ours: Callable[[], object],
    reference: Callable[[], object],
    *,
    rounds: int = 30,
    calls: int = 10,
    warm_up: int = 3,
) -> Compared:
    """Run `calls` of each side in each of `rounds`, sides alternating, after `warm_up` rounds that do not count."""
    pairs = [(p50_s(ours, calls), p50_s(reference, calls)) for _ in range(rounds + warm_up)][warm_up:]
    return Compared(
        ours_s=statistics.median(mine for mine, _ in pairs),
        reference_s=statistics.median(other for _, other in pairs),
        ratio=statistics.median(mine / other for mine, other in pairs),
    )


def p50_s(call: Callable[[], object], calls: int) -> float:
    """The median of the seconds that `calls` calls took, one by one."""
    return statistics.median(seconds(call) for _ in range(calls))


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
