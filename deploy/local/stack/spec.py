"""One process of the stack, as plain data: its name, its command, and how to tell that it is ready.

The process table is a list of these. Nothing here starts anything, so a test or the demo can cut the table down, change
a command or add a process of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Probe = Callable[[], str | None]
"""Asks a process once whether it is ready: None when it is, else the reason why not yet."""


def do_nothing() -> None:
    """Do nothing: the default of a hook."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How one process is started, recognised as ready, and stopped."""

    name: str
    """Name in the log folder, in `status` and in messages."""
    command: tuple[str, ...]
    """Program and arguments; run from the repository root."""
    stage: int = 0
    """Processes of one stage start side by side; a stage begins when all of the one before it are ready."""
    once: bool = False
    """True for a command that has to end with exit code 0 before the next stage, and is never restarted."""
    ready: Probe | None = None
    """None: ready as soon as it runs."""
    ready_within: float = 90.0
    """Seconds to become ready; ample, for a death is seen at once and a busy machine is slow."""
    prepare: Callable[[], None] = do_nothing
    """Runs before every start: makes files, removes what a crash left."""
    settle: Callable[[], None] = do_nothing
    """Runs when the process has become ready for the first time, before the next stage."""
    port: int | None = None
    """TCP port on loopback, for the progress line and `status`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the stack."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within: float = 15.0
    """Seconds between the stop signal and SIGKILL."""
