"""Working memory put together against re-encoding it: warm as in an agent's next step, and cold with new texts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from itertools import count

from agentstate.memory.context import ContextBudget
from bench.ground import Ground
from bench.timing import compare, p50_s
from bench.tokens import truth
from bench.tokens.kinds import CHAT, MADE, locomo, python_code
from deploy.local.stack.results import Row, at_most

SLOTS = 9
CHARS = 60_000
"""A slot; nine of them are 540 KB."""
MODEL = "gpt-6-luna"
_ROOM = 600_000
_KINDS = ("JSON with ids", "JSON with ids", "ledger lines", "markdown", "prose", "identifiers")


def rows(ground: Ground) -> Iterator[Row]:
    """The time of a build, warm, cold and cut."""
    texts = _mixed(ground)
    warm = statistics.median(p50_s(lambda: _built(texts), 20) for _ in range(ground.size(15, 2)))
    yield at_most("context: build, 540 KB in 9 slots, warm", round(warm * 1_000, 3), 1.0, "ms")
    yield from _cold("cold", texts, ground, judged=True)
    yield from _cold("cold, nothing but chat", _chat(ground), ground, judged=False)
    half = p50_s(lambda: _built(texts, 60_000), 3)
    yield Row("context: build, the same cut to 60,000 tokens", round(half * 1_000, 1), "ms")


def _cold(name: str, texts: list[str], ground: Ground, *, judged: bool) -> Iterator[Row]:
    exact = truth.counter("o200k")
    if exact is None:
        yield Row(f"context: build, {name}", "not measured", reference=truth.missing() or "")
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
    against = f"{found.reference_s * 1_000:.0f} ms of re-encoding with tiktoken o200k_base, CPU time"
    row = at_most(f"context: build, {name}", round(found.ratio, 3), 0.1, "x", against)
    yield Row(f"context: build, {name}", round(found.ours_s * 1_000, 1), "ms")
    yield row if judged else Row(row.name, row.value, row.unit, reference=row.reference)


def _built(texts: list[str], max_tokens: int = _ROOM) -> str:
    context = ContextBudget(MODEL, max_tokens)
    for number, text in enumerate(texts):
        context.set(f"slot_{number}", text, priority=number)
    return context.build()


def _mixed(ground: Ground) -> list[str]:
    """What an agent's slots hold: its events, books, rules, notes, code, and a chat."""
    texts = [_made(kind) for kind in _KINDS]
    return [*texts, python_code()[:CHARS], *_chat(ground)[: SLOTS - len(texts) - 1]]


def _chat(ground: Ground) -> list[str]:
    """Nothing but a chat, which a vocabulary encodes fastest."""
    file = ground.data / CHAT
    whole = locomo(file) if file.exists() else _made("prose") * SLOTS
    return [whole[number * CHARS : (number + 1) * CHARS] for number in range(SLOTS)]


def _made(kind: str) -> str:
    pieces, text = MADE[kind](random.Random(7)), ""  # noqa: S311 texts, not secrets
    while len(text) < CHARS:
        text += next(pieces)
    return text[:CHARS]
