"""What runs on a data folder, checked against the live processes and not only read from the record."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.folder import Folder
from deploy.local.stack.launcher import supervisor_of
from deploy.local.stack.ownership import Identity
from deploy.local.stack.supervisor import leftovers

_MEGABYTE = 1024 * 1024
_HEADINGS = ("process", "state", "pid", "port", "up for", "restarts", "memory", "last exit")


@dataclass(frozen=True)
class Row:
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
class Status:
    """The state of a stack."""

    data: str
    state: str
    """running, starting, stopping, stopped, failed, never started, or orphaned: processes without a supervisor."""
    supervisor: int | None
    urls: dict[str, str]
    processes: list[Row]

    @property
    def well(self) -> bool:
        """Whether everything runs that should."""
        return self.state == "running" and all(row.state in {"running", "done"} for row in self.processes)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "well": self.well}

    def text(self) -> str:
        """For a terminal."""
        owner = f", supervisor pid {self.supervisor}" if self.supervisor else ""
        lines = [f"{self.data}: {self.state}{owner}"]
        if self.state == "orphaned":
            lines.append("The supervisor is gone; `make down` ends what is left, `make up` starts anew with all data.")
        if self.state != "never started":
            lines += _table([_HEADINGS, *(_cells(row) for row in self.processes)])
        return "\n".join(lines)


def status_of(folder: Folder) -> Status:
    """The state of the stack on `folder`."""
    record, supervisor = folder.record(), supervisor_of(folder)
    state = record.get("state", "never started")
    if supervisor is None and state not in {"stopped", "failed", "never started"}:
        state = "orphaned" if leftovers(folder) else "stopped"
    return Status(
        data=str(folder.path),
        state=state,
        supervisor=supervisor.pid if supervisor else None,
        urls=record.get("urls", {}),
        processes=[_row(name, known) for name, known in record.get("processes", {}).items()],
    )


def _row(name: str, known: dict[str, Any]) -> Row:
    identity = Identity.parse(known)
    process = identity.process() if identity else None
    recorded = known["state"]
    state = "dead" if process is None and recorded in {"running", "starting"} else recorded
    return Row(
        name=name,
        state=state,
        pid=process.pid if process else None,
        port=known["port"],
        up_s=_seconds_since(known["since"]) if process else None,
        restarts=known["restarts"],
        memory_mb=_memory(process) if process else None,
        last_exit=known["last_exit"],
    )


def _seconds_since(moment: str) -> float:
    return max(0.0, (utc_now() - datetime.fromisoformat(moment)).total_seconds())


def _memory(process: psutil.Process) -> float:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += _proportional(member)
    return round(total / _MEGABYTE, 1)


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        str(row.pid or "-"),
        str(row.port or "-"),
        _duration(row.up_s) if row.up_s is not None else "-",
        str(row.restarts),
        f"{row.memory_mb:.0f} MB" if row.memory_mb is not None else "-",
        row.last_exit or "-",
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
