"""What is shown while it runs: a live table on a terminal, a line every few seconds where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

LINE_EVERY_S = 5.0


class Progress:
    """Events as lines, and counters that grow. Safe to use from several threads."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, refresh_per_second=4, transient=True) if out.is_terminal else None
        self._lock = threading.Lock()
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Something happened."""
        with self._lock:
            self._out.print(f"{self._elapsed():4.0f} s  {text}", markup=False, soft_wrap=True)

    def show(self, phase: str, numbers: Mapping[str, int]) -> None:
        """How far it is."""
        if self._live is not None:
            self._live.update(self._table(phase, numbers))
        elif time.monotonic() - self._shown >= LINE_EVERY_S:
            self._shown = time.monotonic()
            self.say(f"{phase}: " + ", ".join(f"{name} {value}" for name, value in numbers.items()))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _table(self, phase: str, numbers: Mapping[str, int]) -> Table:
        table = Table(title=f"{phase}, {self._elapsed():.0f} s", title_justify="left")
        for name in numbers:
            table.add_column(name, justify="right")
        table.add_row(*(str(value) for value in numbers.values()))
        return table
