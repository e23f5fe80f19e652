"""`Stack`: the one-machine stack, or a part of it, run from this process.

    with Stack(Path("/tmp/play"), only=("redis", "postgres")) as stack:
        settings = stack.env["AGENTSTATE_DATABASE_URL"]

The process that holds the `Stack` is its supervisor: it restarts what dies, and the end of the `with` block
leaves no process.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agentstate.settings import ENV_FILE_VARIABLE, PREFIX, Settings
from deploy.local.stack.errors import StackError, StartFailed
from deploy.local.stack.folder import Folder, write_settings
from deploy.local.stack.ports import LOOPBACK
from deploy.local.stack.spec import ProcessSpec
from deploy.local.stack.supervisor import Child, RestartPolicy, StackContext, Supervisor, end_leftovers, find_tag
from deploy.local.stack.table import EVERYTHING, ProcessTable, StackChoices, python_path


def _ignore_line(_line: str) -> None:
    """Say nothing."""


class Stack:
    """A stack on one data folder.

    Args:
        data: the data folder; made when missing, and everything in it survives a restart.
        only: names of processes out of `deploy.local.stack.table.EVERYTHING`; all of them when left out.
        settings: further settings for all processes, by name with or without `AGENTSTATE_`.
        progress: is called with one line for each step.
        extra: processes of your own, started after all others.
        policy: how a process that dies is brought back.
        choices: fields of `deploy.local.stack.table.Choices`, such as `ports={"redis": 6379}` or `money_workers=4`.
    """

    def __init__(
        self,
        data: Path,
        *,
        only: Iterable[str] = EVERYTHING,
        settings: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = _ignore_line,
        extra: Iterable[ProcessSpec] = (),
        policy: RestartPolicy | None = None,
        **choices: Any,
    ) -> None:
        self.folder = Folder(data)
        self.urls: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        chosen = tuple(only)
        unknown = sorted(set(chosen) - set(EVERYTHING))
        if unknown:
            raise StackError(f"unknown process {', '.join(unknown)}; there are {', '.join(EVERYTHING)}.")
        self._choices = StackChoices(only=chosen, **choices)
        self._overrides = {_full_setting_name(name): str(value) for name, value in (settings or {}).items()}
        self._progress, self._extra = progress, tuple(extra)
        self._policy = policy or RestartPolicy()
        self._settings: dict[str, str] = {}
        self._supervisor: Supervisor | None = None
        self._stop_once = threading.Lock()

    @property
    def env(self) -> dict[str, str]:
        """`AGENTSTATE_*` settings for programs that use this stack."""
        return {**self._settings, ENV_FILE_VARIABLE: str(self.folder.env_file)}

    @property
    def pids(self) -> dict[str, int]:
        """The pid of every process that runs now."""
        return {name: child.state.pid for name, child in self._child_map().items() if child.state.pid is not None}

    def start(self) -> None:
        """Start all processes and return when every one is ready.

        Raises:
            AlreadyRunning: another supervisor owns the folder.
            StackError: something cannot start; the text says what and what to do. Everything else was stopped again.
        """
        began = time.monotonic()
        self.folder.claim_ownership()
        try:
            tag = find_tag(self.folder)
            ended = end_leftovers(self.folder)
            if ended:
                self._progress(f"ended {ended} processes that an earlier supervisor left behind")
            table = ProcessTable(self.folder, tag, self._choices)
            self.ports, self.urls = table.ports, table.urls
            self._settings = {**table.settings, **self._overrides}
            write_settings(self.folder.env_file, self._settings)
            # The processes get the user's environment, in which the settings of the stack win.
            direct = ",".join(
                filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), LOOPBACK, "localhost"])
            )
            own = {
                "PYTHONPATH": python_path(os.environ.get("PYTHONPATH")),
                "PYTHONUNBUFFERED": "1",
                # A proxy in the user's environment cannot reach the loopback of this machine.
                "NO_PROXY": direct,
                "no_proxy": direct,
            }
            self._supervisor = Supervisor(
                StackContext(folder=self.folder, tag=tag, env={**os.environ, **own, **self.env}, policy=self._policy),
                progress=self._progress,
                about={"ports": {**self.folder.read_record().get("ports", {}), **table.ports}, "urls": table.urls},
            )
            self._supervisor.start_processes([*table.process_specs(), *self._extra])
        except BaseException:
            self._supervisor = None
            self.folder.release_ownership()
            raise
        atexit.register(self.stop)
        self._progress(f"all ready in {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """Stop all processes, the last started first, and give the folder back; nothing is left running."""
        with self._stop_once:
            if self._supervisor is None:
                return
            self._supervisor.stop_processes()
            self._supervisor = None
            self.folder.release_ownership()
            atexit.unregister(self.stop)

    def kill_process(self, name: str) -> None:
        """`kill -9` one process; the supervisor brings it back."""
        self.get_child(name).kill()

    def wait_running(self, name: str, *, other_than: int | None = None, timeout: float = 30.0) -> int:
        """Wait until a process runs and is ready, with another pid than `other_than`; its pid.

        Raises:
            StartFailed: it does not within `timeout` seconds.
        """
        child = self.get_child(name)
        if not child.wait_running(other_than, timeout):
            raise StartFailed(f"{name} is not running again after {timeout:g} s; its state is '{child.state.state}'.")
        return self.pids[name]

    def retry_given_up(self) -> None:
        """Start again the processes that were given up."""
        if self._supervisor is not None:
            self._supervisor.retry_given_up()

    def get_child(self, name: str) -> Child:
        """The supervision of one process: its state, restarts and last exit."""
        try:
            return self._child_map()[name]
        except KeyError:
            raise StackError(
                f"no process {name} runs in this stack; there are {', '.join(self._child_map()) or 'none'}."
            ) from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _child_map(self) -> Mapping[str, Child]:
        return self._supervisor.children if self._supervisor else {}


def _full_setting_name(name: str) -> str:
    field = name.lower().removeprefix(PREFIX.lower())
    if field not in Settings.model_fields:
        raise StackError(f"unknown setting {name}. Nothing was started. `agentstate doctor --settings` lists all.")
    return PREFIX + field.upper()
