"""Starting a supervisor that outlives the terminal, and stopping one from outside.

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
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.errors import NotRunning, StackError, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.ownership import ProcessIdentity, wait_for_end
from deploy.local.stack.supervisor import end_leftovers, find_leftovers
from deploy.local.stack.table import python_path

SUPERVISOR = "supervisor"
"""Name of the supervisor's own log."""
STOP_WITHIN_S = 90.0
"""Seconds after which a supervisor that was asked to stop is taken for stuck."""


def start_detached(folder: Folder, arguments: Sequence[str], progress: Callable[[str], None]) -> int:
    """Start `python -m deploy.local up` in a session of its own; its pid, once everything is ready.

    Args:
        folder: the data folder.
        arguments: further options of `up`.
        progress: is called with every line of the supervisor until it is ready.

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
        _follow_start(process, report, progress, folder)
    # From here on nobody waits for it: it is the user's to stop.
    process.returncode = 0
    return process.pid


def _follow_start(
    process: subprocess.Popen[bytes], report: TextIO, progress: Callable[[str], None], folder: Folder
) -> None:
    try:
        for line in report:
            step: dict[str, Any] = json.loads(line)
            if "ready" in step:
                return
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
        """One step was made."""
        shown = f"{utc_now():%Y-%m-%dT%H:%M:%SZ} {line}" if self._logs else line
        print(shown, flush=True)
        self._send_step({"progress": line})

    def report_ready(self) -> None:
        """Everything runs; the caller is let go."""
        self._send_step({"ready": True})
        self._close_pipe()

    def report_failure(self, text: str) -> None:
        """The start failed."""
        self._send_step({"error": text})
        self._close_pipe()

    def _send_step(self, step: dict[str, Any]) -> None:
        if self._pipe is not None:
            # The caller may have gone; the supervisor has its log.
            with contextlib.suppress(BrokenPipeError):
                self._pipe.write(json.dumps(step) + "\n")
                self._pipe.flush()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._pipe = None


def find_supervisor(folder: Folder) -> psutil.Process | None:
    """The live supervisor of a folder."""
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
        _end_supervisor(supervisor, progress)
    ended = end_leftovers(folder)
    if ended:
        progress(f"ended {ended} processes that no supervisor looked after")
    _record_stopped(folder)


def _end_supervisor(supervisor: psutil.Process, progress: Callable[[str], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor.send_signal(signal.SIGTERM)
        if wait_for_end([supervisor], STOP_WITHIN_S):
            progress(f"the supervisor did not stop within {STOP_WITHIN_S:g} s and is killed")
            supervisor.kill()
            wait_for_end([supervisor], 5)


def _record_stopped(folder: Folder) -> None:
    record = folder.read_record()
    if record.get("state") in {"stopped", "failed"}:
        return
    for process in record.get("processes", {}).values():
        process.update(state="stopped", pid=None, started=None)
    folder.write_record({**record, "state": "stopped", "supervisor": None})


def restart_process(folder: Folder, name: str) -> None:
    """End one process; its supervisor starts it again. One that was given up is tried again.

    Raises:
        StackError: there is no such process, or no supervisor to start it again.
    """
    supervisor, known = find_supervisor(folder), folder.read_record().get("processes", {})
    if supervisor is None:
        raise NotRunning(f"no supervisor runs on {folder.path}; nothing was changed. `make up` starts everything.")
    if name not in known:
        raise StackError(f"there is no process {name}; there are {', '.join(known)}. Nothing was changed.")
    identity = ProcessIdentity.parse_record(known[name])
    process = identity.find_process() if identity else None
    if process is not None:
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    else:
        supervisor.send_signal(signal.SIGUSR1)
