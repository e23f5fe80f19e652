"""The token estimator against exact counters: how far off it is for each kind of text, and how fast it is."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentstate.providers.tokens import Estimator, Family
from bench.ground import Ground
from bench.timing import compare
from bench.tokens import recorded, truth
from bench.tokens.kinds import chunks, locomo, python_code
from bench.tokens.recorded import Counted
from deploy.local.results import Row, at_least, at_most

AT_RANDOM = ("symbols", "other scripts", "runs of one sign")
"""Kinds that no one writes; shown, and not judged."""
_JUDGED_FROM = 800
"""Characters; a slot is at least as long."""
_LEAST_COVERED = 0.97
_SPEED_CHARS = 540_000


@dataclass(frozen=True)
class Error:
    """How an estimate relates to the true counts of one kind."""

    ratios: Sequence[float]
    """Estimate divided by true count, of samples of at least 800 characters."""
    middle: float
    """The same for the estimate before it is raised, the median."""
    quarter: float
    """The same for characters divided by four."""

    @property
    def covered(self) -> float:
        """Share of samples whose estimate is not below the true count."""
        return sum(ratio >= 1 for ratio in self.ratios) / len(self.ratios)


def rows(ground: Ground) -> Iterator[Row]:
    """The error table of each family, and the speed."""
    for family in Family:
        yield from _table(family, ground)
    yield from _speed(ground)


def _table(family: Family, ground: Ground) -> Iterator[Row]:
    tool = "ctok" if family in truth.CTOK else "tiktoken"
    counted = list(_counted(family, ground))
    if not counted:
        yield Row(f"tokens {family}: error", "not measured", reference=truth.missing() or "data sets are absent")
        return
    judged: list[float] = []
    for kind in counted:
        error = _error(Estimator(family), kind)
        told = f"{tool}; unraised {error.middle:.2f}, characters/4 {error.quarter:.2f}"
        low, high = min(error.ratios), max(error.ratios)
        value = f"{statistics.median(error.ratios):.2f} ({low:.2f} to {high:.2f})"
        yield Row(f"tokens {family}: {kind.kind}, estimate / true", value, "x", reference=told)
        judged += [] if kind.kind in AT_RANDOM else error.ratios
    covered = sum(ratio >= 1 for ratio in judged) / len(judged)
    yield at_least(f"tokens {family}: samples not underestimated", round(covered, 4), _LEAST_COVERED, reference=tool)
    yield at_most(f"tokens {family}: median estimate / true", round(statistics.median(judged), 3), 1.25, "x", tool)


def _counted(family: Family, ground: Ground) -> Iterator[Counted]:
    """Samples with their true counts: counted now where the package is there, else as they were recorded."""
    texts, code = recorded.made(), python_code()
    file = ground.data / "locomo/locomo10.json"
    if file.exists():
        texts["chat"] = recorded.drawn("chat", locomo(file))
    count = truth.counter(family)
    if count is None and family in truth.CTOK:
        yield from recorded.read(texts, family)
    elif count is not None:
        texts["code"] = [sample.text for sample in chunks("code", code, draw=random.Random(4), each=recorded.EACH)]  # noqa: S311
        yield from (Counted(kind, some, [count(text) for text in some]) for kind, some in texts.items())


def _error(estimator: Estimator, kind: Counted) -> Error:
    pairs = [pair for pair in zip(kind.texts, kind.true, strict=True) if len(pair[0]) >= _JUDGED_FROM]
    return Error(
        [estimator.count(text) / true for text, true in pairs],
        statistics.median(estimator.middle(text) / true for text, true in pairs),
        statistics.median(len(text) / 4 / true for text, true in pairs),
    )


def _speed(ground: Ground) -> Iterator[Row]:
    exact = truth.counter(Family.O200K)
    if exact is None:
        yield Row("tokens: time of an estimate", "not measured", reference=truth.missing() or "")
        return
    text = (python_code() * 9)[:_SPEED_CHARS]
    found = compare(
        lambda: Estimator(Family.O200K).count(text),
        lambda: exact(text),
        rounds=ground.size(10, 2),
        calls=2,
        warm_up=1,
        clock=time.process_time,
    )
    yield at_most(
        "tokens: time of an estimate, 540 KB", round(found.ratio, 3), 0.1, "x", "tiktoken o200k_base, CPU time"
    )
