"""The stack and the agent processes of the demonstration: started, killed, restarted, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentstate.settings import PREFIX, Settings
from deploy.local.demo.receipts import RECEIPTS
from deploy.local.stack import control
from deploy.local.stack.errors import NotRunning, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.ownership import make_mark
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import python_path

Report = Callable[[str], None]
STOP_WITHIN_S = 5.0


class DemoStack:
    """The stack on one folder: in this process, or in the background when it is to stay.

    Everything but starting and stopping goes by the folder's record, so both ways are used alike.

    Args:
        data: the data folder.
        settings: settings for all processes, by name without `AGENTSTATE_`.
        seed: of the sandbox.
        stays: True if the stack goes on in the background after this process.
        report: called with one line for each step.

    Raises:
        StackError: there is no such setting.
    """

    def __init__(self, data: Path, settings: Mapping[str, str], *, seed: int, stays: bool, report: Report) -> None:
        self.folder = Folder(data)
        self._overrides, self._seed, self._stays, self._report = settings, seed, stays, report
        # Made now, so that wrong settings are reported before anything begins.
        self._stack = Stack(data, settings=settings, progress=report, seed=seed)

    def start(self) -> None:
        """Start everything; raise StackError when a process cannot start."""
        if self._stays:
            chosen = [part for name, value in self._overrides.items() for part in ("--set", f"{name}={value}")]
            arguments = ["--data", str(self.folder.path), "--seed", str(self._seed), *chosen]
            control.start_detached(self.folder, arguments, self._report)
        else:
            self._stack.start()

    def stop(self) -> None:
        """Stop everything; no process is left."""
        if not self._stays:
            self._stack.stop()
            return
        try:
            control.stop_stack(self.folder, self._report)
        except NotRunning:
            self._report("the stack does not run any more")

    @property
    def urls(self) -> dict[str, str]:
        """Addresses by process."""
        urls: dict[str, str] = self.folder.read_record()["urls"]
        return urls

    @property
    def tag(self) -> str:
        """The tag that all processes of this stack carry."""
        return str(self.folder.read_record()["tag"])

    def load_settings(self) -> Settings:
        """Return the stack's settings; from here on no setting of the user's shell hides them in this process."""
        lines = self.folder.env_file.read_text("utf-8").splitlines()
        for name in (line.partition("=")[0] for line in lines if line.startswith(PREFIX)):
            os.environ.pop(name, None)
        return Settings.load(env_file=self.folder.env_file)

    def kill_process(self, name: str) -> int:
        """`kill -9` a process and return its pid; raise StartFailed when it does not run."""
        known: Mapping[str, Any] = self.folder.read_record().get("processes", {}).get(name, {})
        if known.get("state") != "running" or known.get("pid") is None:
            raise StartFailed(f"{name} does not run, so it cannot be killed.")
        os.kill(known["pid"], signal.SIGKILL)
        return int(known["pid"])


class AgentProcesses:
    """All agent processes; the agents are dealt out evenly.

    Args:
        stack: the stack that they use.
        agents: names of all agents.
        processes: how many processes share them.
        seed: decides what each agent does.
    """

    def __init__(self, stack: DemoStack, agents: Sequence[str], *, processes: int, seed: int) -> None:
        self._stack, self._agents, self._seed = stack, agents, seed
        self._shares = [agents[first::processes] for first in range(min(processes, len(agents)))]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._starts: dict[int, int] = {}
        self._receipts = stack.folder.path / RECEIPTS
        self._receipts.mkdir(exist_ok=True)
        self._end_file = self._receipts / "end"
        self._end_file.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._shares)

    def start(self) -> None:
        """Start all processes; they work until `request_end`."""
        for number in range(len(self._shares)):
            self._start_process(number)

    def kill_and_restart(self, number: int) -> str:
        """`kill -9` one process, start it again, and return the names of its agents."""
        process = self._running[number]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self._start_process(number)
        return ", ".join(self._shares[number])

    def request_end(self) -> None:
        """Let no agent begin a new step; they resolve effects in doubt and end."""
        self._end_file.touch()

    def count_alive(self) -> int:
        """Return how many processes run."""
        return sum(process.poll() is None for process in self._running.values())

    def list_failures(self) -> list[str]:
        """Return the processes that ended with an error, with the end of their logs."""
        bad = [n for n, process in self._running.items() if process.poll() not in {None, 0}]
        tail = self._stack.folder.read_log_tail
        return [f"agents-{n} ended with {self._running[n].returncode}:\n{tail(f'agents-{n}', 25)}" for n in bad]

    def stop(self) -> None:
        """End every process that still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_process(self, number: int) -> None:
        start = self._starts[number] = self._starts.get(number, 0) + 1
        options = {
            "--agents": ",".join(self._shares[number]), "--peers": ",".join(self._agents),
            "--end": str(self._end_file), "--seed": str(self._seed),
            "--receipts": str(self._receipts / f"receipts-{number}-{start}.jsonl"),
        }  # fmt: skip
        command = [sys.executable, "-m", "deploy.local.demo.agents", *(x for pair in options.items() for x in pair)]
        name = f"agents-{number}"
        environment = {
            **os.environ,
            **make_mark(self._stack.tag, name),
            "AGENTSTATE_ENV_FILE": str(self._stack.folder.env_file),
            "PYTHONPATH": python_path(os.environ.get("PYTHONPATH")),
            "OPENBLAS_NUM_THREADS": "1",
        }
        log = self._stack.folder.open_log(name)
        try:
            self._running[number] = subprocess.Popen(  # noqa: S603 our own command
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)
