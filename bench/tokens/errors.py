"""The error table: how estimates relate to exact counts, for each kind of text."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentstate.providers.tokens import Estimator, Family
from bench.tokens import recorded, truth
from bench.tokens.kinds import CHAT, chunks, locomo, python_code
from bench.tokens.recorded import Counted
from deploy.local.stack.results import Row, at_least, at_most

AT_RANDOM = ("symbols", "other scripts", "runs of one sign")
"""Kinds that no one writes; shown, and not judged."""
_JUDGED_FROM = 800
"""Characters; a slot is at least as long."""
_LEAST_COVERED = 0.97


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


def error_table(family: Family, data: Path) -> Iterator[Row]:
    """How far off the estimates of one family are for each kind of text; `data` has the chat."""
    tool = "ctok" if family in truth.CTOK else "tiktoken"
    counted = list(_counted(family, data / CHAT))
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


def _counted(family: Family, chat: Path) -> Iterator[Counted]:
    """Samples with their true counts: counted now where the package is there, else as they were recorded."""
    texts, code = recorded.made(), python_code()
    if chat.exists():
        texts["chat"] = recorded.drawn("chat", locomo(chat))
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
        statistics.median(estimator.mean_count(text) / true for text, true in pairs),
        statistics.median(len(text) / 4 / true for text, true in pairs),
    )
