"""A trap in the way of a process: counts the points that it passes, and kills it with SIGKILL at a chosen one.

Points are the steps that reach outside the process (each statement, begin, commit and rollback of the database before
it is sent and after it was answered, each step of the exchange with the remote), and between two of them each line of
our code that is executed. A line that runs again before the next step is the same point: what a death there leaves
behind is the same.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.engine import Engine

import agentstate

LIBRARY = Path(agentstate.__file__).parent
WATCHED = (str(LIBRARY / "money"), str(LIBRARY / "store" / "store.py"), str(LIBRARY / "store" / "alone.py"))
"""The code whose lines are points."""


class Trap:
    """Set it in a process of its own; it stays for good.

    Args:
        kill_at: number of the point to die at, from 1; 0 counts alone.
        watched: beginnings of the file names whose lines are points.
    """

    def __init__(self, kill_at: int = 0, watched: tuple[str, ...] = WATCHED) -> None:
        self._kill_at = kill_at
        self._watched = watched
        self._on = False
        self._lines: set[tuple[str, int, str]] = set()
        self._passed: list[str | tuple[str, int, str]] = []

    def set(self, engine: Engine | None = None) -> None:
        """Begin to watch; `engine` is the database of which each step is a point."""
        if engine is not None:
            _watch_database(engine, self.step)
        self._on = True
        sys.settrace(self._called)

    def lift(self) -> None:
        """Watch no more."""
        sys.settrace(None)
        self._on = False

    @property
    def passed(self) -> list[str]:
        """The points so far, in words."""
        return [name if isinstance(name, str) else f"{Path(name[0]).name}:{name[1]} {name[2]}" for name in self._passed]

    def step(self, name: str) -> None:
        """Pass a step that reaches outside, or die there."""
        if self._on:
            self._lines.clear()
            self._pass(name)

    def _pass(self, name: str | tuple[str, int, str]) -> None:
        self._passed.append(name)
        if len(self._passed) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self._watched) else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
            if line not in self._lines:
                self._lines.add(line)
                self._pass(line)
        return self._line


def _watch_database(engine: Engine, step: Callable[[str], None]) -> None:
    """Make each statement, commit and rollback a step, whichever way our code sends it."""
    for name in ("do_execute", "do_execute_no_params", "do_executemany"):
        setattr(engine.dialect, name, _around(getattr(engine.dialect, name), step))
    for name in ("do_commit", "do_rollback"):
        setattr(engine.dialect, name, _between(getattr(engine.dialect, name), name.removeprefix("do_"), step))


def _around(execute: Callable[..., None], step: Callable[[str], None]) -> Callable[..., None]:
    def watched(cursor: Any, statement: str, *rest: Any) -> None:
        said = " ".join(statement.split()[:3])
        step(f"before {said}")
        execute(cursor, statement, *rest)
        step(f"after {said}")

    return watched


def _between(done: Callable[[Any], None], name: str, step: Callable[[str], None]) -> Callable[[Any], None]:
    def watched(connection: Any) -> None:
        step(f"before {name}")
        done(connection)
        step(f"after {name}")

    return watched
