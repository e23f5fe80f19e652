"""Working memory put together against re-encoding it: warm as in an agent's next step, and cold with new texts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from itertools import count

from agentstate.memory.context import ContextBudget
from bench.stack import BenchStack
from bench.texts import CHAT, MADE, read_chat, read_python_code
from bench.timing import compare_calls, median_seconds
from bench.token_counts import find_counter, find_missing_packages
from deploy.local.stack.results import Row, at_most

SLOTS = 9
CHARS = 60_000
"""A slot; nine of them are 540 KB."""
MODEL = "gpt-6-luna"
_ROOM = 600_000
_KINDS = ("JSON with ids", "JSON with ids", "ledger lines", "markdown", "prose", "identifiers")


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The time of a build, warm, cold and cut."""
    # Typical slots: events, books, rules, notes, code, and a chat.
    texts = [*(_make_slot(kind) for kind in _KINDS), read_python_code()[:CHARS]]
    texts += _make_chat_slots(bench)[: SLOTS - len(texts)]
    warm = statistics.median(median_seconds(lambda: _build_context(texts), 20) for _ in range(bench.choose_size(15, 2)))
    yield at_most("context: build, 540 KB in 9 slots, warm", round(warm * 1_000, 3), 1.0, "ms")
    yield from _measure_cold("cold", texts, bench, judged=True)
    yield from _measure_cold("cold, nothing but chat", _make_chat_slots(bench), bench, judged=False)
    half = median_seconds(lambda: _build_context(texts, 60_000), 3)
    yield Row("context: build, the same cut to 60,000 tokens", round(half * 1_000, 1), "ms")


def _measure_cold(name: str, texts: list[str], bench: BenchStack, *, judged: bool) -> Iterator[Row]:
    exact = find_counter("o200k")
    if exact is None:
        yield Row(f"context: build, {name}", "not measured", reference=find_missing_packages() or "")
        return
    rounds = count()

    def new() -> list[str]:
        # A text that nobody has seen is as long as the others.
        mark = f"{next(rounds):06d}"
        return [mark + text[len(mark) :] for text in texts]

    def encode_all() -> None:
        for text in texts:
            exact(text)

    unseen = iter([new() for _ in range(30)])
    found = compare_calls(
        lambda: _build_context(next(unseen)),
        encode_all,
        rounds=bench.choose_size(12, 2),
        calls=2,
        warm_up=1,
        clock=time.process_time,
    )
    against = f"{found.reference_s * 1_000:.0f} ms of re-encoding with tiktoken o200k_base, CPU time"
    row = at_most(f"context: build, {name}", round(found.ratio, 3), 0.1, "x", against)
    yield Row(f"context: build, {name}", round(found.ours_s * 1_000, 1), "ms")
    yield row if judged else Row(row.name, row.value, row.unit, reference=row.reference)


def _build_context(texts: list[str], max_tokens: int = _ROOM) -> str:
    context = ContextBudget(MODEL, max_tokens)
    for number, text in enumerate(texts):
        context.set(f"slot_{number}", text, priority=number)
    return context.build()


def _make_chat_slots(bench: BenchStack) -> list[str]:
    """Return slots of chat alone, which a vocabulary encodes fastest."""
    file = bench.data / CHAT
    whole = read_chat(file) if file.exists() else _make_slot("prose") * SLOTS
    return [whole[number * CHARS : (number + 1) * CHARS] for number in range(SLOTS)]


def _make_slot(kind: str) -> str:
    pieces, text = MADE[kind](random.Random(7)), ""  # noqa: S311 texts, not secrets
    while len(text) < CHARS:
        text += next(pieces)
    return text[:CHARS]
