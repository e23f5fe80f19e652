"""The settings file of a stack: `AGENTSTATE_*` lines that lead commands and workers to its servers.

The first part is written by the stack at every start; what a user adds below the marker is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.local.stack.folder import write_private

MARKER = "# --- your own settings go below this line; the stack keeps them ---"
_HEADER = "# Written by the one-machine stack at every start. Private: it holds passwords."


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Write the file, readable by its owner only, with the user's own lines kept."""
    lines = [
        _HEADER,
        *(f"{name}={_quote_value(value)}" for name, value in settings.items()),
        "",
        MARKER,
        *_read_own_lines(path),
    ]
    write_private(path, "\n".join(lines) + "\n")


def _read_own_lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    return text.split(MARKER, 1)[1].strip("\n").splitlines() if MARKER in text else []


def _quote_value(value: str) -> str:
    """A value as the settings reader takes it."""
    if value and all(letter.isalnum() or letter in "._-:/@%+=,~" for letter in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
