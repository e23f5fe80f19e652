"""The data folder: one owner at a time, and small JSON files that are either old or new, never half.

owner.lock               held by the owner as long as it lives; the system frees it when the process dies
aliases.json             alias name -> collection name
collections/<id>/        one collection; <id> is random, so a name can be used again at once
    collection.json      written last and removed first: without it the folder is refuse of a cut-short call
    shard/               the engine's own files
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from agentstate.errors import Conflict

_ID = re.compile(r"[0-9a-f]{32}")


def sync_folder(path: Path) -> None:
    """Make creations, renames and removals inside a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file atomically and durably."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file written by `write_json`.

    Raises:
        Conflict: The file holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Conflict(f"{path} cannot be read ({error}). Move its folder away and index again.") from error
    if not isinstance(value, dict):
        raise Conflict(f"{path} holds {type(value).__name__}, not an object. Move its folder away and index again.")
    return value


class DataFolder:
    """The folder of one owner process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._collections = root / "collections"
        self._lock: TextIO | None = None

    @property
    def aliases_file(self) -> Path:
        """The file of the aliases."""
        return self.root / "aliases.json"

    def take_ownership(self) -> None:
        """Become the owner of the folder and clean up after a cut-short create or drop.

        Raises:
            Conflict: Another process owns it.
        """
        self._collections.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._lock_file(self.root / "owner.lock")
        for path in self._collections.iterdir():
            if _ID.fullmatch(path.name) and not (path / "collection.json").exists():
                shutil.rmtree(path)

    def give_up(self) -> None:
        """Give the folder up."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def new_collection(self) -> Path:
        """Make the folder of a new collection."""
        path = self._collections / uuid.uuid4().hex
        path.mkdir(mode=0o700)
        sync_folder(self._collections)
        return path

    def list_collections(self) -> Iterator[Path]:
        """The folders of all whole collections."""
        return (path.parent for path in sorted(self._collections.glob("*/collection.json")))

    @staticmethod
    def _lock_file(path: Path) -> TextIO:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise Conflict(
                f"The data folder {path.parent} is in use by process {owner}. "
                "Nothing was changed; stop that process first, or give another --data folder."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file
