"""Imports at first use, safe for threads.

Modules are imported when a verb first needs them, so that a command that needs few starts fast. Two threads that import
a package and one of its modules at once can see either half made: Python breaks the deadlock between them that way. So
a process that has several threads when it first uses an agent imports everything at once, under one lock; one with a
single thread goes on module by module.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import threading
from typing import TYPE_CHECKING, Any

_LEFT_OUT = (
    "aio",
    "cli",
    "doctor",
    "integrations",
    "metrics",
    "migrations",
    "schedules",
    "tasks",
    "transport",
    "workers",
)
"""Parts that agents do not use, or that are imported by one place of their own."""

_lock = threading.RLock()
_done = False


def load_parts() -> None:
    """Import every part that agents use, once; others wait meanwhile. Does nothing while there is one thread."""
    global _done  # noqa: PLW0603 modules are imported once in a process too
    if _done or threading.active_count() == 1:
        return
    with _lock:
        if not _done:
            _import_below(importlib.import_module("agentstate").__path__, "agentstate.")
            _done = True


def _import_below(path: Any, prefix: str) -> None:
    for found in pkgutil.iter_modules(path, prefix):
        if found.name.rpartition(".")[2].startswith("_") or found.name.rpartition(".")[2] in _LEFT_OUT:
            continue
        module = importlib.import_module(found.name)
        if found.ispkg:
            _import_below(module.__path__, f"{found.name}.")


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 another thread of the parent may have held it
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


if TYPE_CHECKING:
    part = property
else:

    class part(property):  # noqa: N801 used as `property` is
        """A property that imports modules: the first use by one of several threads imports everything before."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            """Return the part, as `property` does."""
            if not _done:
                load_parts()
            return super().__get__(instance, owner)
