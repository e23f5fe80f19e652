"""How a command of this folder is ended from outside: in order, and only once."""

from __future__ import annotations

import signal
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_once() -> None:
    """Make the first Ctrl-C, SIGTERM or closed terminal a KeyboardInterrupt; further ones do not disturb the end."""
    for number in _SIGNALS:
        signal.signal(number, _raise_interrupt)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
