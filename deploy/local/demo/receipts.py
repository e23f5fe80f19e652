"""Acknowledgements that agents received, written down by the agent's own process outside of the system.

A promise of durability can only be checked against notes that the system does not keep. Each line is in the kernel's
hands before the agent goes on, so `kill -9` of the agent loses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from agentstate.state import codec

RECEIPTS = "receipts"
"""Folder of the files, inside the data folder."""


@dataclass(frozen=True)
class Acknowledgement:
    """One acknowledgement."""

    agent_id: str
    kind: str
    """`effect`, `memory`, `turn`, `job` or `submission`."""
    key: str
    """The effect's or submission's key, the memory's or job's id, or the turn's source."""
    value: Any = None
    """The effect's receipt, or the turn's number."""


class ReceiptFile:
    """The file of one agent process."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def append(self, agent_id: str, kind: str, key: str, value: Any = None) -> None:
        """Write one acknowledgement down."""
        self._file.write(codec.dumps([agent_id, kind, key, value]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_receipts(folder: Path) -> Iterator[Acknowledgement]:
    """Yield the acknowledgements of all agent processes, without the line that a killed process was writing."""
    for path in sorted(folder.glob("receipts-*.jsonl")):
        for line in path.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("]\n"):
                yield Acknowledgement(*codec.loads(line))
