"""The token estimator against exact counters: its error for each kind of text, and its speed."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from agentstate.providers.tokens import Estimator, Family
from bench.stack import BenchStack
from bench.texts import CHAT, cut_chunks, read_chat, read_python_code
from bench.timing import compare_calls
from bench.token_counts import (
    CTOK,
    EACH,
    Counted,
    draw_samples,
    find_counter,
    find_missing_packages,
    make_all_samples,
    read_recorded,
)
from deploy.local.stack.results import Row, at_least, at_most

AT_RANDOM = ("symbols", "other scripts", "runs of one sign")
"""Kinds that no one writes; shown, and not judged."""
_JUDGED_FROM = 800
"""Characters; a slot is at least as long."""
_LEAST_COVERED = 0.97


def error_table(family: Family, data: Path) -> Iterator[Row]:
    """Yield the estimate error of one family for each kind of text; `data` has the chat."""
    tool = "ctok" if family in CTOK else "tiktoken"
    counted = list(_count_samples(family, data / CHAT))
    if not counted:
        yield Row(
            f"tokens {family}: error", "not measured", reference=find_missing_packages() or "data sets are absent"
        )
        return
    judged: list[float] = []
    for kind in counted:
        estimator = Estimator(family)
        pairs = [pair for pair in zip(kind.texts, kind.true, strict=True) if len(pair[0]) >= _JUDGED_FROM]
        # Estimate divided by true count; the same before it is raised, and for characters divided by four.
        ratios = [estimator.count(text) / true for text, true in pairs]
        middle = statistics.median(estimator.mean_count(text) / true for text, true in pairs)
        quarter = statistics.median(len(text) / 4 / true for text, true in pairs)
        told = f"{tool}; unraised {middle:.2f}, characters/4 {quarter:.2f}"
        value = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield Row(f"tokens {family}: {kind.kind}, estimate / true", value, "x", reference=told)
        judged += [] if kind.kind in AT_RANDOM else ratios
    covered = sum(ratio >= 1 for ratio in judged) / len(judged)
    yield at_least(f"tokens {family}: samples not underestimated", round(covered, 4), _LEAST_COVERED, reference=tool)
    yield at_most(f"tokens {family}: median estimate / true", round(statistics.median(judged), 3), 1.25, "x", tool)


def _count_samples(family: Family, chat: Path) -> Iterator[Counted]:
    """Samples with their true counts: counted now where the package is there, else as they were recorded."""
    texts, code = make_all_samples(), read_python_code()
    if chat.exists():
        texts["chat"] = draw_samples("chat", read_chat(chat))
    count = find_counter(family)
    if count is None and family in CTOK:
        yield from read_recorded(texts, family)
    elif count is not None:
        texts["code"] = [sample.text for sample in cut_chunks("code", code, draw=random.Random(4), each=EACH)]  # noqa: S311
        yield from (Counted(kind, some, [count(text) for text in some]) for kind, some in texts.items())


_SPEED_CHARS = 540_000


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The error table of each family, and the speed."""
    for family in Family:
        yield from error_table(family, bench.data)
    yield from _measure_speed(bench)


def _measure_speed(bench: BenchStack) -> Iterator[Row]:
    exact = find_counter(Family.O200K)
    if exact is None:
        yield Row("tokens: time of an estimate", "not measured", reference=find_missing_packages() or "")
        return
    text = (read_python_code() * 9)[:_SPEED_CHARS]
    found = compare_calls(
        lambda: Estimator(Family.O200K).count(text),
        lambda: exact(text),
        rounds=bench.choose_size(10, 2),
        calls=2,
        warm_up=1,
        clock=time.process_time,
    )
    yield at_most(
        "tokens: time of an estimate, 540 KB", round(found.ratio, 3), 0.1, "x", "tiktoken o200k_base, CPU time"
    )
