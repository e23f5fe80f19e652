"""The world of most runs: a whole stack under a supervisor of its own, whose processes can be killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentstate.settings import Settings
from deploy.local.stack.control import find_supervisor, start_detached
from deploy.local.stack.folder import Folder
from deploy.local.stack.ownership import ProcessIdentity, find_processes, wait_for_end
from deploy.local.stack.supervisor import end_leftovers
from tests.worlds.waiting import until


@dataclass
class World:
    """A stack under a supervisor of its own, as `make up` starts it."""

    folder: Folder
    options: list[str]
    told: list[str] = field(default_factory=list)

    def up(self) -> None:
        start_detached(self.folder, [*self.options, "--data", str(self.folder.path)], self.told.append)

    def processes(self) -> dict[str, Any]:
        found: dict[str, Any] = self.folder.read_record()["processes"]
        return found

    def kill(self, name: str) -> int | None:
        """`kill -9` one process; its pid, None when it was not running just then."""
        identity = ProcessIdentity.parse_record(self.processes()[name])
        process = identity.find_process() if identity else None
        if process is None:
            return None
        process.kill()
        return process.pid

    def kill_and_wait(self, name: str) -> int | None:
        """`kill -9` one process and wait until it runs again; its pid, None when it was not running just then."""
        killed = self.kill(name)
        if killed is not None:
            until(lambda: self.is_running_again(name, killed))
        return killed

    def is_running_again(self, name: str, killed: int | None) -> bool:
        known = self.processes()[name]
        return known["state"] == "running" and known["pid"] != killed

    def kill_all(self) -> None:
        """`kill -9` the supervisor and everything that it started, in one go."""
        supervisor = find_supervisor(self.folder)
        assert supervisor is not None
        doomed = [supervisor, *find_processes(self.folder.read_record()["tag"])]
        for process in doomed:
            process.kill()
        assert wait_for_end(doomed, 30) == []

    def settings(self) -> Settings:
        return Settings.load(env_file=self.folder.env_file)


@contextmanager
def running_stack(base: Path, options: Sequence[str], settings: Mapping[str, str] | None = None) -> Iterator[World]:
    """A stack in a folder of its own below `base`, started with `options` of `up`; ended and removed afterwards."""
    given = [word for name, value in (settings or {}).items() for word in ("--set", f"{name}={value}")]
    folder = Folder(Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=base)) / "stack")
    running = World(folder, [*options, *given])
    try:
        running.up()
        yield running
    finally:
        supervisor = find_supervisor(folder)
        if supervisor is not None:
            supervisor.kill()
            wait_for_end([supervisor], 30)
        end_leftovers(folder)
        shutil.rmtree(folder.path.parent, ignore_errors=True)
