"""What runs on a data folder, checked against the live processes and not only read from the record."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.folder import Folder
from deploy.local.stack.launcher import find_supervisor
from deploy.local.stack.ownership import ProcessIdentity
from deploy.local.stack.supervisor import find_leftovers

_MEGABYTE = 1024 * 1024
_HEADINGS = ("process", "state", "pid", "port", "up for", "restarts", "memory", "last exit")


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
        """Whether everything runs that should."""
        return self.state == "running" and all(row.state in {"running", "done"} for row in self.processes)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "well": self.is_well}

    def as_text(self) -> str:
        """For a terminal."""
        owner = f", supervisor pid {self.supervisor}" if self.supervisor else ""
        lines = [f"{self.data}: {self.state}{owner}"]
        if self.state == "orphaned":
            lines.append("The supervisor is gone; `make down` ends what is left, `make up` starts anew with all data.")
        if self.state != "never started":
            lines += _format_table([_HEADINGS, *(_row_cells(row) for row in self.processes)])
        return "\n".join(lines)


def read_status(folder: Folder) -> StackStatus:
    """The state of the stack on `folder`."""
    record, supervisor = folder.read_record(), find_supervisor(folder)
    state = record.get("state", "never started")
    if supervisor is None and state not in {"stopped", "failed", "never started"}:
        state = "orphaned" if find_leftovers(folder) else "stopped"
    return StackStatus(
        data=str(folder.path),
        state=state,
        supervisor=supervisor.pid if supervisor else None,
        urls=record.get("urls", {}),
        processes=[_process_row(name, known) for name, known in record.get("processes", {}).items()],
    )


def _process_row(name: str, known: dict[str, Any]) -> ProcessRow:
    identity = ProcessIdentity.parse_record(known)
    process = identity.find_process() if identity else None
    recorded = known["state"]
    state = "dead" if process is None and recorded in {"running", "starting"} else recorded
    return ProcessRow(
        name=name,
        state=state,
        pid=process.pid if process else None,
        port=known["port"],
        up_s=_seconds_since(known["since"]) if process else None,
        restarts=known["restarts"],
        memory_mb=_memory_mb(process) if process else None,
        last_exit=known["last_exit"],
    )


def _seconds_since(moment: str) -> float:
    return max(0.0, (utc_now() - datetime.fromisoformat(moment)).total_seconds())


def _memory_mb(process: psutil.Process) -> float:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += _proportional_bytes(member)
    return round(total / _MEGABYTE, 1)


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _row_cells(row: ProcessRow) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        str(row.pid or "-"),
        str(row.port or "-"),
        _format_duration(row.up_s) if row.up_s is not None else "-",
        str(row.restarts),
        f"{row.memory_mb:.0f} MB" if row.memory_mb is not None else "-",
        row.last_exit or "-",
    )


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _format_table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
