"""Redaction of known secrets by value, whatever text they stand in.

A credential is remembered when it is read. Error texts and log lines pass through `redact`, so that a key comes out of
neither, even when a service repeats it in an answer.
"""

from __future__ import annotations

import threading

SHORTEST = 8
"""Shorter values are no keys, and replacing them would spoil ordinary words."""

STAND_IN = "[redacted]"

_lock = threading.Lock()
_known: frozenset[str] = frozenset()


def register_secret(value: str) -> None:
    """Keep `value` out of every text from now on."""
    global _known  # noqa: PLW0603 what is secret is secret in the whole process
    if len(value) >= SHORTEST and value not in _known:
        with _lock:
            _known = _known | {value}


def redact_secrets(text: str) -> str:
    """`text` with every known secret replaced."""
    for value in _known:
        if value in text:
            text = text.replace(value, STAND_IN)
    return text
