"""Processes of a stack, found again by a mark they carry, even after their supervisor was killed.

Each stack has a random tag. Its processes carry the tag in their environment; the servers that write over their
environment carry it in their title. A process that carries neither is ours only if it was recorded with the
same pid and the same start time. Nothing else is ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

MARK = "STACK_PROCESS"
"""Environment variable `<tag>/<process name>` of every process of a stack."""
SAME_START_S = 0.02
"""Start times come in hundredths of a second."""

_CLUSTER_NAME = "cluster_name="
_KILLED_WITHIN_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started: float
    """Seconds since the epoch at which the kernel started it."""

    @classmethod
    def of_pid(cls, pid: int) -> ProcessIdentity | None:
        """The identity of the live process `pid`; None when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    @classmethod
    def parse_record(cls, record: Mapping[str, Any] | None) -> ProcessIdentity | None:
        """The identity in a record of `stack.json`; None when it holds none."""
        if not record or record.get("pid") is None or record.get("started") is None:
            return None
        return cls(int(record["pid"]), float(record["started"]))

    def find_process(self) -> psutil.Process | None:
        """The process while it lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def make_mark(tag: str, name: str) -> dict[str, str]:
    """Return the environment variable that marks a process of the stack."""
    return {MARK: f"{tag}/{name}"}


def title_template(tag: str) -> str:
    """Title of a Redis process of the stack, in the form of its option `proc-title-template`."""
    return f"{tag} {{title}} {{listen-addr}}"


def cluster_name(tag: str) -> str:
    """Setting that puts the tag in the titles of all Postgres processes of the stack."""
    return f"{_CLUSTER_NAME}{tag}"


def find_processes(tag: str, name: str | None = None) -> list[psutil.Process]:
    """Live processes that carry the tag; with `name`, only those that were started as this process."""
    own = os.getpid()
    found = ((process, find_name(process, tag)) for process in psutil.process_iter() if process.pid != own)
    return [process for process, found_name in found if found_name and name in {None, found_name}]


def find_name(process: psutil.Process, tag: str) -> str | None:
    """The name under which a process with this tag was started; None for a process without the tag, or a dead one."""
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return _read_mark(process, tag) or _read_title(process.cmdline(), tag)
    return None


def end_processes(processes: Iterable[psutil.Process], *, within: float) -> list[int]:
    """End processes and return their pids.

    Those that have no parent among them are asked to stop; what is still there after `within` seconds is killed.
    """
    found = list(processes)
    pids = {process.pid for process in found}
    for process in found:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                process.send_signal(_stop_signal(process))
    alive = wait_for_end(found, within)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_for_end(alive, _KILLED_WITHIN_S)
    return sorted(pids)


def wait_for_end(processes: Iterable[psutil.Process], within: float) -> list[psutil.Process]:
    """Wait until processes have ended; those that are still there after `within` seconds.

    One that is dead but was never reaped has ended: in many containers nobody reaps orphans.
    """
    deadline = time.monotonic() + within
    alive = [process for process in processes if not _has_ended(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        alive = [process for process in alive if not _has_ended(process)]
    return alive


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _stop_signal(process: psutil.Process) -> signal.Signals:
    """SIGTERM, but for Postgres: fast shutdown for the server, the crash signal for a process that outlived it."""
    command = process.cmdline()
    if any(part.startswith(_CLUSTER_NAME) for part in command[1:]):
        return signal.SIGINT
    return signal.SIGQUIT if " ".join(command).startswith("postgres: ") else signal.SIGTERM


def _read_mark(process: psutil.Process, tag: str) -> str | None:
    try:
        found = str(process.environ().get(MARK, ""))
    except (psutil.AccessDenied, OSError):
        return None
    return found.removeprefix(f"{tag}/") if found.startswith(f"{tag}/") else None


def _read_title(command: list[str], tag: str) -> str | None:
    title = " ".join(command)
    if title.startswith(f"postgres: {tag}") or cluster_name(tag) in command[1:]:
        return "postgres"
    if title.startswith(f"{tag} ") or title_template(tag) in command[1:]:
        return "redis"
    return None
