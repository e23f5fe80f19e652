"""Progress bars: on standard error when that is a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Advance: TypeAlias = Callable[[int, int | None, str], None]
"""Takes how much is done, of how much (None: unknown), and a remark."""


@contextmanager
def show_progress(title: str, *, shown: bool) -> Iterator[Advance]:
    """A progress bar while the block runs."""
    if not shown or not can_draw():
        yield lambda _done, _total, _remark: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[remark]}"), console=Console(stderr=True)) as drawn:
        task = drawn.add_task(title, total=None, remark="")
        yield lambda done, total, remark: drawn.update(task, completed=done, total=total, remark=remark)


def can_draw() -> bool:
    """Whether somebody looks at standard error, on a terminal that can draw."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
