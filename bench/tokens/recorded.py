"""Claude's exact counts of samples that every machine can make again, recorded by the fit.

The package that counts them needs a newer Python than agentstate does; with these, the error table needs no package.
The samples themselves are not stored, only their digest.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.tokens.kinds import MADE, chunks, samples

EACH: Final = 30
"""Samples per kind and length."""
FILE: Final = Path(__file__).with_name("recorded.json")
_SEED: Final = 3
_FAMILIES: Final = ("claude", "claude-4.6")


@dataclass(frozen=True)
class Counted:
    """Samples of one kind with what an exact counter said of them."""

    kind: str
    texts: Sequence[str]
    true: Sequence[int]


def made() -> dict[str, list[str]]:
    """The samples of the kinds that are made from a seed."""
    return {kind: [sample.text for sample in samples(kind, make, seed=_SEED, each=EACH)] for kind, make in MADE.items()}


def drawn(kind: str, text: str) -> list[str]:
    """Samples from a real text."""
    draw = random.Random(_SEED)  # noqa: S311 samples, not secrets
    return [sample.text for sample in chunks(kind, text, draw=draw, each=EACH)]


def write(texts: Mapping[str, list[str]], count: Callable[[Any, list[str]], Iterable[float]], tool: str) -> None:
    """Count and record `texts`."""
    kinds = {
        kind: {"sha256": _digest(some), **{name: [int(n) for n in count(name, some)] for name in _FAMILIES}}
        for kind, some in texts.items()
    }
    lines = ",\n".join(
        f" {json.dumps(kind)}: {json.dumps(entry, separators=(',', ':'))}" for kind, entry in kinds.items()
    )
    FILE.write_text(f'{{"made_by": "scripts/fit-tokens", "ctok": "{tool}", "kinds": {{\n{lines}\n}}}}\n', "utf-8")


def read(texts: Mapping[str, list[str]], family: str) -> list[Counted]:
    """What is recorded of `texts`; kinds whose text is another one now are left out."""
    kinds = json.loads(FILE.read_text("utf-8"))["kinds"]
    return [
        Counted(kind, some, kinds[kind][family])
        for kind, some in texts.items()
        if kind in kinds and kinds[kind]["sha256"] == _digest(some)
    ]


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
