"""The supervisor: starts a table of processes stage by stage, keeps them alive, and stops them in reverse order.

It owns the data folder while it lives. Everything that it knows is in `stack.json`, rewritten at every change,
so that the next supervisor, or `down`, can find the processes when this one was killed.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.child import Child, StackContext
from deploy.local.stack.folder import Folder
from deploy.local.stack.ownership import ProcessIdentity, end_processes, find_name, find_processes
from deploy.local.stack.spec import ProcessSpec

END_WITHIN_S = 10.0
"""Seconds that leftovers of a killed supervisor get to end by themselves."""
SERVERS = frozenset({"redis", "postgres", "qdrant"})
"""What others lean on while they stop."""


def find_tag(folder: Folder) -> str:
    """The random name that all processes of this data folder carry."""
    known = folder.read_record().get("tag")
    return str(known) if known else f"agentstate-{secrets.token_hex(8)}"


def find_leftovers(folder: Folder) -> dict[int, str]:
    """Live processes of this folder, name by pid: those recorded, and those that carry its tag."""
    record = folder.read_record()
    tag = str(record.get("tag") or "no tag")
    found = {process.pid: find_name(process, tag) or "" for process in find_processes(tag)}
    for name, known in record.get("processes", {}).items():
        identity = ProcessIdentity.parse_record(known)
        if identity and identity.find_process():
            found.setdefault(identity.pid, name)
    return found


def end_leftovers(folder: Folder) -> int:
    """End what a killed supervisor left running on this folder, the servers last; the number of processes."""
    found = find_leftovers(folder)
    servers = {pid for pid, name in found.items() if name in SERVERS}
    for pids in (found.keys() - servers, servers):
        end_processes([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], within=END_WITHIN_S)
    return len(found)


class Supervisor:
    """Runs a process table. Claim the folder first; one supervisor runs one table once."""

    def __init__(
        self,
        home: StackContext,
        *,
        progress: Callable[[str], None],
        about: Mapping[str, Any],
    ) -> None:
        self._home, self._progress, self._about = home, progress, about
        self._writing = threading.Lock()
        self._state = "starting"
        self._since = utc_now().isoformat(timespec="seconds")
        self._self = ProcessIdentity.of_pid(os.getpid())
        self.children: dict[str, Child] = {}

    def start_processes(self, table: Sequence[ProcessSpec]) -> None:
        """Start every stage in turn.

        Raises:
            StackError: a process did not become ready; all others were stopped again.
        """
        self.children = {spec.name: self._make_child(spec) for spec in table}
        self._write_record()
        try:
            for _, stage in groupby(table, key=lambda spec: spec.stage):
                self._start_stage([self.children[spec.name] for spec in stage])
        except BaseException:
            self.stop_processes(state="failed")
            raise
        self._change_state("running")

    def stop_processes(self, state: str = "stopped") -> None:
        """Stop everything, the last stage first, and end whatever else carries the tag."""
        self._change_state("stopping")
        table = [child.spec for child in self.children.values()]
        for _, stage in groupby(reversed(table), key=lambda spec: spec.stage):
            self._stop_stage([self.children[spec.name] for spec in stage])
        end_processes(find_processes(self._home.tag), within=END_WITHIN_S)
        self._change_state(state)

    def retry_given_up(self) -> None:
        """Start again what was given up."""
        for child in self.children.values():
            child.retry_given_up()

    def _make_child(self, spec: ProcessSpec) -> Child:
        return Child(spec, self._home, changed=self._write_record, progress=self._progress)

    def _start_stage(self, stage: Iterable[Child]) -> None:
        children = list(stage)
        for child in children:
            child.start()
        for child in children:
            child.wait_ready()

    def _stop_stage(self, stage: Iterable[Child]) -> None:
        children = list(stage)
        for child in children:
            child.request_stop()
        for child in children:
            child.wait_stopped()

    def _change_state(self, state: str) -> None:
        self._state = state
        self._write_record()

    def _write_record(self) -> None:
        with self._writing:
            alive = self._state not in {"stopped", "failed"}
            self._home.folder.write_record({
                "format": 1,
                "tag": self._home.tag,
                "state": self._state,
                "since": self._since,
                "supervisor": self._self.__dict__ if alive and self._self else None,
                **self._about,
                "processes": {name: child.as_record() for name, child in self.children.items()},
            })  # fmt: skip
