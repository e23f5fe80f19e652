"""Detection of secrets in state: a likely secret is refused, and the error names its place, never its value.

Two signs are looked for: a value with the shape of a key (a known prefix and a long token, a private key's block), and
a field whose name says that it holds one. A reference (`env:NAME`, `vault:path`) is what such a field may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from agentstate.errors import InvalidInput

_SHAPES = re.compile(
    r"(?:pf|sk|pk|rk)[_-](?:live|test)[_-][A-Za-z0-9_-]{6,}"
    r"|(?<![A-Za-z0-9])(?:pf|sk|pk|rk)[_-](?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,}"
    r"|(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}"
    r"|(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?<![A-Z0-9])AKIA[0-9A-Z]{16}(?![0-9A-Z])"
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_NAMES = re.compile(
    r"(?:^|_)(?:api_?key|secret(?:_key)?|(?:access|refresh|auth|bearer|session|api)_?token|token|passw(?:or)?d"
    r"|pass_?phrase|private_?key|signing_?key|credentials?|authorization|mnemonic|seed(?:_?phrase)?|recovery_?phrase)$"
)
_PHRASE_NAMES = re.compile(r"seed|mnemonic|phrase|recovery|backup|wallet|words|key|secret")
_REFERENCE = re.compile(r"(?:env|vault|file|secret|keyring|ref):\S+\Z|\$\{\w+\}\Z")
# In this trade a token is a coin more often than a key.
_COIN = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z|0x[0-9a-fA-F]{40}\Z")
_WORDS = re.compile(r"[a-z]{3,8}\Z")
_PHRASE_LENGTHS = frozenset({12, 15, 18, 21, 24})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Leaf: TypeAlias = tuple[str, tuple[str, ...], Any]
"""A value's place as text, the names of the fields that it is in, and the value."""


def refuse_secrets(value: Any, where: str = "state") -> None:
    """Raise InvalidInput when something in `value` looks like a key, a password or a wallet's words.

    The error names the place (`state.preferences.api_key`), not the value.
    """
    for place, names, leaf in _walk_leaves(value, where, ()):
        if _looks_secret(names, leaf):
            raise InvalidInput(
                f"{place} looks like a secret. Keep it in the environment or a secrets manager, and in state at most "
                "a reference such as env:NAME. Nothing was stored."
            )


def _walk_leaves(value: Any, place: str, names: tuple[str, ...]) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            text = str(key)
            if _SHAPES.search(text):
                yield f"key {number} of {place}", (), text
            else:
                plain = _CAMEL.sub("_", text).replace("-", "_").replace(" ", "_").lower()
                yield from _walk_leaves(item, f"{place}.{text}", (*names, plain))
    elif isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            yield place, names, " ".join(value)
        for number, item in enumerate(value):
            yield from _walk_leaves(item, f"{place}[{number}]", names)
    else:
        yield place, names, value


def _looks_secret(names: tuple[str, ...], value: Any) -> bool:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if isinstance(text, str) and (_SHAPES.search(text) or _is_phrase(names, text)):
        return True
    return any(_NAMES.search(name) and not _may_hold(name, text) for name in names)


def _is_phrase(names: tuple[str, ...], text: str) -> bool:
    words = text.split()
    suspicious = any(_PHRASE_NAMES.search(name) for name in names)
    return suspicious and len(words) in _PHRASE_LENGTHS and all(_WORDS.match(word) for word in words)


def _may_hold(name: str, value: Any) -> bool:
    """Whether a field of a secret's name may hold `value`: nothing, a reference, a coin, or a count."""
    if value is None or isinstance(value, bool) or value == "":
        return True
    if isinstance(value, str):
        return bool(_REFERENCE.match(value)) or (name.endswith("token") and bool(_COIN.match(value)))
    return name.endswith(("token", "seed"))
