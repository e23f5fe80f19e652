"""Things timed in turn, so that a noisy machine is equally unkind to all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds per call of both sides (medians), and the median over the rounds of ours divided by the reference's."""

    ours_s: float
    reference_s: float
    ratio: float


class Rounds:
    """Measurements of each side in several rounds."""

    def __init__(self, rounds: Iterable[Mapping[str, float]]) -> None:
        self._rounds = list(rounds)

    def median_of(self, side: str) -> float:
        """The median of one side."""
        return statistics.median(found[side] for found in self._rounds)

    def ratio_of(self, side: str, reference: str) -> float:
        """The median over the rounds of one side divided by the other in the same round."""
        return statistics.median(found[side] / found[reference] for found in self._rounds)


def run_rounds(sides: Mapping[str, Callable[[], float]], *, rounds: int = 30, warm_up: int = 3) -> Rounds:
    """Let each side measure itself once in each round, one after the other, after rounds that do not count."""
    return Rounds([{name: measure() for name, measure in sides.items()} for _ in range(rounds + warm_up)][warm_up:])


def compare_calls(
    ours: Callable[[], object],
    reference: Callable[[], object],
    *,
    rounds: int = 30,
    calls: int = 10,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Run `calls` of each side in each of `rounds`, sides alternating, after `warm_up` rounds that do not count.

    What only computes is better timed by `time.process_time`: it leaves out what other programs take of the machine.
    """
    sides = {
        "ours": lambda: median_seconds(ours, calls, clock),
        "reference": lambda: median_seconds(reference, calls, clock),
    }
    found = run_rounds(sides, rounds=rounds, warm_up=warm_up)
    return Comparison(found.median_of("ours"), found.median_of("reference"), found.ratio_of("ours", "reference"))


def median_seconds(call: Callable[[], object], calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median of the seconds that `calls` calls took, one by one."""
    return statistics.median(time_call(call, clock) for _ in range(calls))


def measure_rate(call: Callable[[int], object], *, clients: int, calls: int) -> float:
    """Return the calls per second of `clients` threads, each making `calls`; a client gets its number."""

    def client(number: int) -> None:
        for _ in range(calls):
            call(number)

    with ThreadPoolExecutor(clients) as pool:
        took = time_call(lambda: list(pool.map(client, range(clients))))
    return clients * calls / took


def time_call(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that one call takes."""
    began = clock()
    call()
    return clock() - began
