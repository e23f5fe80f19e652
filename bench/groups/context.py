"""Working memory put together against re-encoding it: warm as in an agent's next step, and cold with new texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import count

from agentstate.memory.context import ContextBudget
from bench.ground import Ground
from bench.timing import compare, p50_s
from bench.tokens import truth
from bench.tokens.kinds import locomo, python_code
from deploy.local.results import Row, at_most

SLOTS = 9
CHARS = 60_000
"""A slot; nine of them are 540 KB."""
MODEL = "gpt-6-luna"
_ROOM = 250_000


def rows(ground: Ground) -> Iterator[Row]:
    """The time of a build, warm, cold and cut."""
    texts = _texts(ground)
    warm = statistics.median(p50_s(lambda: _built(texts), 20) for _ in range(ground.size(15, 2)))
    yield at_most("context: build, 540 KB in 9 slots, warm", round(warm * 1_000, 3), 1.0, "ms")
    yield from _cold(texts, ground)
    half = p50_s(lambda: _built(texts, _ROOM // 4), 3)
    yield Row("context: build, the same cut to 60,000 tokens", round(half * 1_000, 1), "ms")


def _cold(texts: list[str], ground: Ground) -> Iterator[Row]:
    exact = truth.counter("o200k")
    if exact is None:
        yield Row("context: build, cold", "not measured", reference=truth.missing() or "")
        return
    rounds = count()

    def new() -> list[str]:
        # A text that nobody has seen is as long as the others.
        mark = f"{next(rounds):06d}"
        return [mark + text[len(mark) :] for text in texts]

    def encoded() -> None:
        for text in texts:
            exact(text)

    unseen = iter([new() for _ in range(30)])
    found = compare(
        lambda: _built(next(unseen)), encoded, rounds=ground.size(12, 2), calls=2, warm_up=1, clock=time.process_time
    )
    yield Row("context: build, cold", round(found.ours_s * 1_000, 1), "ms")
    yield at_most(
        "context: build, cold", round(found.ratio, 3), 0.1, "x", "re-encoding with tiktoken o200k_base, CPU time"
    )


def _built(texts: list[str], max_tokens: int = _ROOM) -> str:
    context = ContextBudget(MODEL, max_tokens)
    for number, text in enumerate(texts):
        context.set(f"slot_{number}", text, priority=number)
    return context.build()


def _texts(ground: Ground) -> list[str]:
    file = ground.data / "locomo/locomo10.json"
    whole = locomo(file) if file.exists() else python_code() * 3
    return [whole[number * CHARS : (number + 1) * CHARS] for number in range(SLOTS)]
