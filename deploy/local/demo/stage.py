"""The stack that the demonstration runs on: in this process, or in the background when it is to stay.

Everything but starting and stopping goes by the folder's record, so both ways are used alike.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from agentstate.settings import PREFIX, Settings
from deploy.local.stack import control
from deploy.local.stack.errors import NotRunning, StartFailed
from deploy.local.stack.folder import Folder
from deploy.local.stack.stack import Stack

Say = Callable[[str], None]


class Stage:
    """One stack on one folder.

    Args:
        data: the data folder.
        settings: settings for all processes, by name without `AGENTSTATE_`.
        seed: of the sandbox.
        stays: whether the stack goes on in the background after this process.
        say: is told each step.

    Raises:
        StackError: there is no such setting.
    """

    def __init__(self, data: Path, settings: Mapping[str, str], *, seed: int, stays: bool, say: Say) -> None:
        self.folder = Folder(data)
        self._overrides, self._seed, self._stays, self._say = settings, seed, stays, say
        # Made now, so that what is wrong with the settings is said before anything begins.
        self._own = Stack(data, settings=settings, progress=say, seed=seed)
        self._stack: Stack | None = None

    def start(self) -> None:
        """Start everything; raises StackError when something cannot start."""
        if self._stays:
            chosen = [part for name, value in self._overrides.items() for part in ("--set", f"{name}={value}")]
            arguments = ["--data", str(self.folder.path), "--seed", str(self._seed), *chosen]
            control.start_detached(self.folder, arguments, self._say)
            return
        self._own.start()
        self._stack = self._own

    def stop(self) -> None:
        """Stop everything; no process is left."""
        if self._stack is not None:
            self._stack.stop()
        elif self._stays:
            try:
                control.stop_stack(self.folder, self._say)
            except NotRunning:
                self._say("the stack does not run any more")

    @property
    def urls(self) -> dict[str, str]:
        """Addresses by process."""
        urls: dict[str, str] = self.folder.read_record()["urls"]
        return urls

    @property
    def tag(self) -> str:
        """What all processes of this stack carry."""
        return str(self.folder.read_record()["tag"])

    def settings(self) -> Settings:
        """The stack's settings; from here on no setting of the user's shell hides them in this process."""
        lines = self.folder.env_file.read_text("utf-8").splitlines()
        for name in (line.partition("=")[0] for line in lines if line.startswith(PREFIX)):
            os.environ.pop(name, None)
        return Settings.load(env_file=self.folder.env_file)

    def pid(self, name: str) -> int | None:
        """The pid of a process that is ready, None while it is not."""
        known = self.folder.read_record().get("processes", {}).get(name, {})
        return known.get("pid") if known.get("state") == "running" else None

    def kill(self, name: str) -> int:
        """`kill -9` a process; its pid."""
        pid = self.pid(name)
        if pid is None:
            raise StartFailed(f"{name} does not run, so it cannot be killed.")
        os.kill(pid, signal.SIGKILL)
        return pid
