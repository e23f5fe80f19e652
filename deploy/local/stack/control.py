"""A stack from outside its supervisor: start one that outlives the terminal, stop it, restart a process, show all.

The detached supervisor reports over a pipe, one JSON line a step, until it is ready or has failed; it then
closes the pipe and goes on alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from types import FrameType
from typing import Any

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.errors import NotRunning, StackError, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.ownership import ProcessIdentity, wait_for_end
from deploy.local.stack.supervisor import end_leftovers, find_leftovers
from deploy.local.stack.table import python_path

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
SUPERVISOR = "supervisor"
"""Name of the supervisor's own log."""
STOP_WITHIN_S = 90.0
"""Seconds after which a supervisor that was asked to stop counts as stuck."""
RESTART_WITHIN_S = 60.0
"""Seconds in which a process must be back after `restart`."""
POLL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MEGABYTE = 1024 * 1024


def interrupt_once() -> None:
    """Turn the first Ctrl-C, SIGTERM or closed terminal into a KeyboardInterrupt, and ignore further ones."""

    def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, raise_interrupt)


def start_detached(folder: Folder, arguments: Sequence[str], progress: Callable[[str], None]) -> int:
    """Start `python -m deploy.local up` in a session of its own; return its pid once everything is ready.

    Args:
        folder: the data folder.
        arguments: further options of `up`.
        progress: called with every line of the supervisor until it is ready.

    Raises:
        StackError: it could not start; everything was stopped again.
    """
    folder.make_folders()
    reading, writing = os.pipe()
    own = ["--data", str(folder.path), "--foreground", "--report", str(writing)]
    command = [sys.executable, "-m", "deploy.local", "up", *arguments, *own]
    environment = {**os.environ, "PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))}
    log = folder.open_log(SUPERVISOR)
    try:
        process = subprocess.Popen(  # noqa: S603 our own command
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,),
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log)
        os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as report:
        try:
            for line in report:
                step: dict[str, Any] = json.loads(line)
                if "ready" in step:
                    # From here on it is not waited for: it is the user's to stop.
                    process.returncode = 0
                    return process.pid
                if "error" in step:
                    process.wait()
                    raise StartFailed(step["error"])
                progress(step["progress"])
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    process.wait()
    raise StartFailed(f"the supervisor ended without a word. The end of its log:\n{folder.read_log_tail(SUPERVISOR)}")


class StartReport:
    """The supervisor's end of the pipe; each step goes to its own log too, or to the terminal when there is no pipe."""

    def __init__(self, handle: int | None) -> None:
        self._logs = handle is not None
        self._pipe = os.fdopen(handle, "w", encoding="utf-8") if handle is not None else None

    def report_progress(self, line: str) -> None:
        """Report one step."""
        print(f"{utc_now():%Y-%m-%dT%H:%M:%SZ} {line}" if self._logs else line, flush=True)
        self._send_step({"progress": line})

    def report_ready(self) -> None:
        """Let the caller go: everything runs."""
        self._send_step({"ready": True}, is_last=True)

    def report_failure(self, text: str) -> None:
        """Tell the caller why the start failed."""
        self._send_step({"error": text}, is_last=True)

    def _send_step(self, step: dict[str, Any], *, is_last: bool = False) -> None:
        if self._pipe is None:
            return
        # The caller may have gone; the supervisor has its log.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(json.dumps(step) + "\n")
            self._pipe.flush()
        if is_last:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._pipe = None


def find_supervisor(folder: Folder) -> psutil.Process | None:
    """Return the live supervisor of a folder."""
    identity = ProcessIdentity.parse_record(folder.read_record().get("supervisor"))
    return identity.find_process() if identity else None


def stop_stack(folder: Folder, progress: Callable[[str], None]) -> None:
    """Stop the stack of a folder, whether its supervisor lives or not; no process of it is left.

    Raises:
        NotRunning: there is nothing to stop.
    """
    supervisor = find_supervisor(folder)
    if supervisor is None and not find_leftovers(folder):
        raise NotRunning(f"nothing runs on {folder.path}.")
    if supervisor is not None:
        progress(f"stopping the supervisor, pid {supervisor.pid}, and its processes")
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
            if wait_for_end([supervisor], STOP_WITHIN_S):
                progress(f"the supervisor did not stop within {STOP_WITHIN_S:g} s and is killed")
                supervisor.kill()
                wait_for_end([supervisor], 5)
    ended = end_leftovers(folder)
    if ended:
        progress(f"ended {ended} processes that had no supervisor")

    # A supervisor that was killed has left the record as it was.
    record = folder.read_record()
    if record.get("state") not in {"stopped", "failed"}:
        for process in record.get("processes", {}).values():
            process.update(state="stopped", pid=None, started=None)
        folder.write_record({**record, "state": "stopped", "supervisor": None})


def restart_process(folder: Folder, name: str) -> int:
    """Restart one process and return its new pid, once it is ready; one that was given up is tried again.

    Raises:
        StackError: there is no such process, or no supervisor to start it again.
        StartFailed: it did not come back.
    """
    supervisor, known = find_supervisor(folder), folder.read_record().get("processes", {})
    if supervisor is None:
        raise NotRunning(f"no supervisor runs on {folder.path}; nothing was changed. `make up` starts everything.")
    if name not in known:
        raise StackError(f"there is no process {name}; there are {', '.join(known)}. Nothing was changed.")
    if known[name]["state"] == "done":
        raise StackError(f"{name} is a command that ran once and ended well. Nothing was changed.")
    identity = ProcessIdentity.parse_record(known[name])
    process = identity.find_process() if identity else None
    if process is not None:
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    else:
        supervisor.send_signal(signal.SIGUSR1)

    # Only the new process proves that it was restarted.
    deadline, before, state = time.monotonic() + RESTART_WITHIN_S, process.pid if process else None, known[name]
    while time.monotonic() < deadline and find_supervisor(folder) is not None:
        state = folder.read_record().get("processes", {}).get(name, state)
        found = ProcessIdentity.parse_record(state)
        if state["state"] == "running" and found and found.pid != before and found.find_process():
            return found.pid
        time.sleep(POLL_S)
    tail = folder.read_log_tail(name)
    raise StartFailed(
        f"{name} was told to stop and is not back after {RESTART_WITHIN_S:g} s; its state is '{state['state']}'"
        f"{', last exit: ' + state['last_exit'] if state['last_exit'] else ''}. The supervisor goes on trying. "
        f"The end of {folder.log_of(name)}:\n{tail or '    (empty)'}"
        if find_supervisor(folder) is not None
        else f"{name} was told to stop, and then the supervisor ended. `make up` starts everything."
    )


@dataclass(frozen=True)
class ProcessRow:
    """One process of the table."""

    name: str
    state: str
    pid: int | None
    port: int | None
    up_s: float | None
    """Seconds since it became ready."""
    restarts: int
    memory_mb: float | None
    """Proportional memory of the process and its children, in MB; resident where the kernel does not tell."""
    last_exit: str | None

    def as_cells(self) -> tuple[str, ...]:
        """Return the row as text, with `-` for unknown values."""
        up = "-"
        if self.up_s is not None:
            minutes, seconds = divmod(int(self.up_s), 60)
            hours, minutes = divmod(minutes, 60)
            up = (
                f"{hours} h {minutes:02} min"
                if hours
                else f"{minutes} min {seconds:02} s"
                if minutes
                else f"{seconds} s"
            )
        memory = f"{self.memory_mb:.0f} MB" if self.memory_mb is not None else "-"
        pid, port = str(self.pid or "-"), str(self.port or "-")
        return (self.name, self.state, pid, port, up, str(self.restarts), memory, self.last_exit or "-")


@dataclass(frozen=True)
class StackStatus:
    """The state of a stack."""

    data: str
    state: str
    """running, starting, stopping, stopped, failed, never started, or orphaned: processes without a supervisor."""
    supervisor: int | None
    urls: dict[str, str]
    processes: list[ProcessRow]

    @property
    def is_well(self) -> bool:
        """True if every process runs that should."""
        return self.state == "running" and all(row.state in {"running", "done"} for row in self.processes)

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {**asdict(self), "well": self.is_well}

    def as_text(self) -> str:
        """Return it for a terminal: one line for the stack, then a table."""
        owner = f", supervisor pid {self.supervisor}" if self.supervisor else ""
        lines = [f"{self.data}: {self.state}{owner}"]
        if self.state == "orphaned":
            lines.append("The supervisor is gone; `make down` ends what is left, `make up` starts anew with all data.")
        if self.state != "never started":
            headings = ("process", "state", "pid", "port", "up for", "restarts", "memory", "last exit")
            rows = [headings, *(row.as_cells() for row in self.processes)]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines)


def read_status(folder: Folder) -> StackStatus:
    """Return the state of the stack on `folder`: the record, checked against the live processes."""
    record, supervisor = folder.read_record(), find_supervisor(folder)
    state = record.get("state", "never started")
    if supervisor is None and state not in {"stopped", "failed", "never started"}:
        state = "orphaned" if find_leftovers(folder) else "stopped"
    rows = []
    for name, known in record.get("processes", {}).items():
        identity = ProcessIdentity.parse_record(known)
        process = identity.find_process() if identity else None
        gone = process is None and known["state"] in {"running", "starting"}
        since = datetime.fromisoformat(known["since"]) if process else None
        rows.append(
            ProcessRow(
                name=name,
                state="dead" if gone else known["state"],
                pid=process.pid if process else None,
                port=known["port"],
                up_s=max(0.0, (utc_now() - since).total_seconds()) if since else None,
                restarts=known["restarts"],
                memory_mb=measure_memory_mb(process) if process else None,
                last_exit=known["last_exit"],
            )
        )
    return StackStatus(
        data=str(folder.path),
        state=state,
        supervisor=supervisor.pid if supervisor else None,
        urls=record.get("urls", {}),
        processes=rows,
    )


def measure_memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and its children in MB, shared pages counted once where the kernel tells."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    total += int(member.memory_full_info().pss)
                except (psutil.AccessDenied, AttributeError):
                    total += int(member.memory_info().rss)
    return round(total / _MEGABYTE, 1)
