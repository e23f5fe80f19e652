"""What agents were told: every acknowledgement, written down by the agent's own process outside of the system.

The idea: a promise of durability can only be checked against something that the system does not keep. Each line is in
the kernel's hands before the agent goes on, so `kill -9` of the agent loses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from agentstate.state import codec

PATTERN = "told-*.jsonl"


@dataclass(frozen=True)
class Told:
    """One acknowledgement."""

    agent_id: str
    what: str
    """`effect`, `memory`, `turn`, `job` or `submission`."""
    key: str
    """The effect's or submission's key, the memory's or job's id, or the turn's session and source."""
    value: Any = None
    """The effect's receipt, or the turn's number."""


class ReceiptBook:
    """The book of one agent process."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def note(self, agent_id: str, what: str, key: str, value: Any = None) -> None:
        """Write one acknowledgement down."""
        self._file.write(codec.dumps([agent_id, what, key, value]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_receipts(folder: Path) -> Iterator[Told]:
    """All acknowledgements of all agent processes; the line that a killed process was writing is left out."""
    for path in sorted(folder.glob(PATTERN)):
        for line in path.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("]\n"):
                yield Told(*codec.loads(line))
