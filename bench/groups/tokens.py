"""The token estimator against exact counters: how far off it is for each kind of text, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Iterator

from agentstate.providers.tokens import Estimator, Family
from bench.ground import BenchStack
from bench.timing import compare_calls
from bench.tokens import truth
from bench.tokens.errors import error_table
from bench.tokens.kinds import python_code
from deploy.local.stack.results import Row, at_most

_SPEED_CHARS = 540_000


def measure_rows(ground: BenchStack) -> Iterator[Row]:
    """The error table of each family, and the speed."""
    for family in Family:
        yield from error_table(family, ground.data)
    yield from _measure_speed(ground)


def _measure_speed(ground: BenchStack) -> Iterator[Row]:
    exact = truth.counter(Family.O200K)
    if exact is None:
        yield Row("tokens: time of an estimate", "not measured", reference=truth.missing() or "")
        return
    text = (python_code() * 9)[:_SPEED_CHARS]
    found = compare_calls(
        lambda: Estimator(Family.O200K).count(text),
        lambda: exact(text),
        rounds=ground.choose_size(10, 2),
        calls=2,
        warm_up=1,
        clock=time.process_time,
    )
    yield at_most(
        "tokens: time of an estimate, 540 KB", round(found.ratio, 3), 0.1, "x", "tiktoken o200k_base, CPU time"
    )
