"""The agent processes: started, killed, started again, and waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.demo.stage import Stage
from deploy.local.stack.folder import ROOT
from deploy.local.stack.ownership import make_mark
from deploy.local.stack.table import python_path

_STOP_WITHIN_S = 5.0


class Crew:
    """All agent processes; the agents are dealt out evenly.

    Args:
        stage: the stack that they use.
        agents: names of all agents.
        processes: how many processes share them.
        seed: decides what they do.
    """

    def __init__(self, stage: Stage, agents: Sequence[str], *, processes: int, seed: int) -> None:
        self._stage, self._agents, self._seed = stage, agents, seed
        self._shares = [agents[first::processes] for first in range(min(processes, len(agents)))]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._lives: dict[int, int] = {}
        self.books = stage.folder.path / "told"
        self.books.mkdir(exist_ok=True)
        self._end = self.books / "end"
        self._end.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._shares)

    def start(self) -> None:
        """Start all processes; they work until `finish`."""
        for number in range(len(self._shares)):
            self._spawn(number)

    def kill(self, number: int) -> str:
        """`kill -9` one process and start it again; its agents, in words."""
        process = self._running[number]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self._spawn(number)
        return ", ".join(self._shares[number])

    def finish(self) -> None:
        """Let no agent begin anything new; they ask for what is in doubt and end."""
        self._end.touch()

    def alive(self) -> int:
        """How many processes run."""
        return sum(process.poll() is None for process in self._running.values())

    def failures(self) -> list[str]:
        """What went wrong in processes that have ended, with the end of their logs."""
        bad = [n for n, process in self._running.items() if process.poll() not in {None, 0}]
        tail = self._stage.folder.read_log_tail
        return [f"agents-{n} ended with {self._running[n].returncode}:\n{tail(f'agents-{n}', 25)}" for n in bad]

    def stop(self) -> None:
        """End whatever still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, number: int) -> None:
        life = self._lives[number] = self._lives.get(number, 0) + 1
        book: Path = self.books / f"told-{number}-{life}.jsonl"
        arguments = {
            "--agents": ",".join(self._shares[number]), "--peers": ",".join(self._agents), "--end": str(self._end),
            "--seed": str(self._seed), "--book": str(book),
        }  # fmt: skip
        command = [sys.executable, "-m", "deploy.local.demo.agent_process", *(x for p in arguments.items() for x in p)]
        name = f"agents-{number}"
        own = {
            **make_mark(self._stage.tag, name),
            "AGENTSTATE_ENV_FILE": str(self._stage.folder.env_file),
            "PYTHONPATH": python_path(os.environ.get("PYTHONPATH")),
            "OPENBLAS_NUM_THREADS": "1",
        }
        log = self._stage.folder.open_log(name)
        try:
            self._running[number] = subprocess.Popen(  # noqa: S603 our own command
                command, cwd=ROOT, env={**os.environ, **own}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)
