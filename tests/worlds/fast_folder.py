"""Where servers of tests keep their data: in memory where there is room, for others use the disk.

`kill -9` takes nothing from memory, so that what a test shows of it holds there too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 a private folder is made in it
ROOM_BYTES = 2 << 30
"""Containers are often given 64 MB, which is less than one empty Postgres."""


def fast_folder(memory: Path = MEMORY) -> Path:
    """A folder in which a private one may be made."""
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM_BYTES:
        return memory
    return Path(tempfile.gettempdir())
