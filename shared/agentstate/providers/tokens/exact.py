"""Exact counters, where their packages are installed: tiktoken for OpenAI's models, ctok for Claude's.

Neither ever goes to the network. tiktoken would fetch a vocabulary that it does not find, so its file is looked for
and checked first; without it, there is no exact counter.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agentstate.errors import ConfigurationError
from agentstate.providers.tokens.families import Family

CACHE_FILES: Final = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",  # pragma: allowlist secret
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",  # pragma: allowlist secret
}
"""Names of tiktoken's vocabulary files."""
_SHA256: Final = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",  # pragma: allowlist secret
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",  # pragma: allowlist secret
}
_ENCODINGS: Final = {Family.O200K: "o200k_base", Family.CL100K: "cl100k_base"}
_VERSIONS: Final = {Family.CLAUDE: "5.0", Family.CLAUDE_OLDER: "4.6"}


class ExactCounter:
    """Counts by a vocabulary on this machine.

    Raises:
        ConfigurationError: the package or its vocabulary is not here; says what to do.
    """

    exact = True

    def __init__(self, family: Family) -> None:
        self.family = family
        load = _load_tiktoken if family in _ENCODINGS else _load_ctok
        self.name, self.count = load(family)


def _load_tiktoken(family: Family) -> tuple[str, Callable[[str], int]]:
    encoding = _ENCODINGS[family]
    _require_package("tiktoken", family)
    # The folder of tiktoken's vocabularies, as its own code chooses it.
    named = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    folder = Path(tempfile.gettempdir()) / "data-gym-cache" if named is None else Path(named)
    file = folder / CACHE_FILES[encoding]
    is_there = file.is_absolute() and file.is_file()
    if not (is_there and hashlib.sha256(file.read_bytes()).hexdigest() == _SHA256[encoding]):
        raise ConfigurationError(
            f"tiktoken has no vocabulary {encoding} on this machine, and agentstate never downloads one: put the file "
            f"{file.name} into {file.parent} (or the folder that TIKTOKEN_CACHE_DIR names), or let tokens be estimated."
        )
    import tiktoken

    # The ordinary encoding: a special token that a user writes is text, and no error.
    encode = tiktoken.get_encoding(encoding).encode_ordinary
    return f"tiktoken {encoding}", lambda text: len(encode(text))


def _load_ctok(family: Family) -> tuple[str, Callable[[str], int]]:
    _require_package("ctok", family)
    import ctok

    version = _VERSIONS[family]
    return f"ctok {version}", lambda text: int(ctok.token_count(text, version))


def _require_package(package: str, family: Family) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"exact tokens of {family} need a package that is not installed: pip install 'agentstate[tokens]' "
            "(Claude's needs Python 3.12 or newer), or let tokens be estimated."
        )
