"""The supervisor: starts a table of processes stage by stage, keeps them alive, and stops them in reverse order.

A thread of its own waits for each process, so that a death is seen at once and nothing is polled. The state file
`stack.json` is for the next supervisor, `status` and `down`; keeping processes alive never depends on writing it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import psutil

from agentstate.clock import utc_now
from deploy.local.stack.errors import PortTaken, StackError, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.ownership import ProcessIdentity, end_processes, find_name, find_processes, make_mark
from deploy.local.stack.ports import describe_listener, is_free
from deploy.local.stack.spec import ProcessSpec

FIRST_POLL_S, LAST_POLL_S = 0.01, 0.2
"""Time between two readiness checks: short at first, for most processes are quick."""
END_WITHIN_S = 10.0
"""Seconds that leftovers of a killed supervisor get to end by themselves."""
WRITE_AGAIN_S = 1.0
"""Seconds until a failed write of `stack.json` is tried again."""
SERVERS = frozenset({"redis", "postgres", "qdrant"})
"""Ended last: the other processes need them while they stop."""


@dataclass(frozen=True)
class RestartPolicy:
    """When a process that died is started again."""

    delays: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0)
    """Seconds before the first, second, ... restart in a row; the last one is used again."""
    give_up_after: int = 6
    """Deaths in a row after which it is given up: from then on it is tried every `retry_every` seconds."""
    settled_after: float = 20.0
    """Seconds of life after which earlier deaths are forgotten."""
    retry_every: float = 30.0
    """Seconds between two tries of a process that was given up; a full disk or a taken port may be over by then."""

    def delay_after(self, deaths: int) -> float:
        """Return the seconds to wait after this many deaths in a row."""
        return self.delays[min(deaths, len(self.delays)) - 1]


@dataclass(frozen=True, kw_only=True)
class StackContext:
    """Shared by all processes of one stack."""

    folder: Folder
    tag: str
    """Random name that marks the processes as this stack's."""
    env: Mapping[str, str]
    """Environment of the processes."""
    policy: RestartPolicy = RestartPolicy()


@dataclass(frozen=True)
class ChildState:
    """The state of one process, as it is written to `stack.json`."""

    state: str = "stopped"
    """starting, running, waiting (to be restarted), gave up, done (a command that ran once) or stopped."""
    pid: int | None = None
    started: float | None = None
    """The kernel's start time of the pid, seconds since the epoch."""
    since: str | None = None
    """When this state began, ISO 8601 in UTC."""
    port: int | None = None
    restarts: int = 0
    last_exit: str | None = None


class Child:
    """Supervises one process of the table. `start()` returns at once; `wait_ready()` raises if the start failed."""

    def __init__(
        self,
        spec: ProcessSpec,
        context: StackContext,
        *,
        changed: Callable[[], None],
        progress: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.state = ChildState(port=spec.port)
        self._folder, self._tag, self._policy = context.folder, context.tag, context.policy
        self._env = {**context.env, **spec.env, **make_mark(context.tag, spec.name)}
        self._changed, self._progress = changed, progress
        self._guard = threading.Lock()
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        """Set by a stop and by `retry_given_up`: ends a pause between two tries."""
        self._settled = threading.Event()
        """Set when the first start has succeeded or failed."""
        self._failure: StackError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._deaths = 0

    def start(self) -> None:
        """Begin to supervise."""
        self._thread = threading.Thread(target=self._supervise, name=f"supervise-{self.spec.name}", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when the process has become ready for the first time; raise the failure of the start otherwise."""
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def wait_running(self, other_than: int | None, timeout: float) -> bool:
        """Wait until it is ready under another pid than `other_than`; return False after `timeout` seconds."""
        with self._news:
            return self._news.wait_for(lambda: self.state.state == "running" and self.state.pid != other_than, timeout)

    def request_stop(self) -> None:
        """Send the stop signal; it will not be restarted."""
        with self._guard:
            self._stopping.set()
            self._wake.set()
            self._send_signal(self.spec.stop_signal)

    def wait_stopped(self) -> None:
        """Wait for the end; after the time of the spec, kill the whole process group."""
        if self._thread is None:
            return
        self._thread.join(self.spec.stop_within)
        if self._thread.is_alive():
            self._report(f"did not stop within {self.spec.stop_within:g} s, killed")
            self._send_signal(signal.SIGKILL, whole_group=True)
            self._thread.join()
        if self.state.state != "gave up":
            self._change_state("stopped", pid=None, started=None)

    def kill(self) -> None:
        """`kill -9`, as a crash would; it is then restarted."""
        with self._guard:
            self._send_signal(signal.SIGKILL)

    def retry_given_up(self) -> None:
        """Try a process that was given up again, now."""
        if self.state.state == "gave up":
            self._wake.set()

    def _supervise(self) -> None:
        """Run one life after the other until a stop; a first start that fails ends it."""
        while not self._stopping.is_set():
            began = time.monotonic()
            failure = self._run_once()
            if self._stopping.is_set() or self.state.state == "done":
                break
            if not self._settled.is_set():
                self._failure = failure
                self._change_state("gave up", pid=None, started=None)
                break
            lived = time.monotonic() - began
            self._deaths = 1 if lived >= self._policy.settled_after else self._deaths + 1
            restarts = self.state.restarts + 1
            if self._deaths < self._policy.give_up_after:
                self._change_state("waiting", pid=None, started=None, restarts=restarts)
                self._wake.wait(self._policy.delay_after(self._deaths))
                continue
            if self._deaths == self._policy.give_up_after:
                self._report(
                    f"given up after {self._deaths} deaths in a row, tried again every {self._policy.retry_every:g} s; "
                    f"`restart {self.spec.name}` tries at once. {failure.message}"
                )
            self._change_state("gave up", pid=None, started=None)
            if self._wake.wait(self._policy.retry_every) and not self._stopping.is_set():
                self._wake.clear()
                self._deaths = 0
        self._settled.set()

    def _run_once(self) -> StackError:
        """Start the process, wait until it is ready, and wait for its end; return the end as an error."""
        try:
            if self._process is not None:
                # Its own children may have outlived it; a new one must not meet them.
                orphans = end_processes(find_processes(self._tag, self.spec.name), within=5.0)
                if orphans:
                    self._report(f"ended {len(orphans)} left over from before")
            self._require_free_port()
            self.spec.prepare()
            began = time.monotonic()
            process = self._spawn()
            if process is not None:
                self._become_ready(process, began)
                process.wait()
        except Exception as error:  # noqa: BLE001 an error of a hook or of the disk must reach the user, not end the thread
            if self._process is not None and self._process.poll() is None:
                with self._guard:
                    self._send_signal(signal.SIGKILL, whole_group=True)
                self._process.wait()
            if not isinstance(error, StackError):
                error = StartFailed(f"{self.spec.name} could not be started: {error}")
            if self._settled.is_set():
                self._change_state(self.state.state, last_exit=str(error.message).split("\n", 1)[0])
            return error
        code = self._process.returncode if self._process else None
        if code is None or self._stopping.is_set() or self.state.state == "done":
            return StartFailed(f"{self.spec.name} was stopped while it started.")
        ended = describe_exit(code)
        self._change_state(self.state.state, last_exit=ended)
        self._report(f"ended unexpectedly with {ended}")
        return self._start_failed(f"ended with {ended}")

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        log = self._folder.open_log(self.spec.name)
        try:
            with self._guard:
                if self._stopping.is_set():
                    return None
                self._process = subprocess.Popen(  # noqa: S603 the command of the table
                    self.spec.command,
                    cwd=ROOT,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartFailed(
                f"{self.spec.name} could not be started: {error}. Nothing of its data was changed."
            ) from error
        finally:
            os.close(log)
        identity = ProcessIdentity.of_pid(self._process.pid)
        self._change_state("starting", pid=self._process.pid, started=identity.started if identity else None)
        return self._process

    def _become_ready(self, process: subprocess.Popen[bytes], began: float) -> None:
        if self.spec.once:
            try:
                code = process.wait(self.spec.ready_within)
            except subprocess.TimeoutExpired:
                raise self._start_failed(f"did not end within {self.spec.ready_within:g} s") from None
            if code != 0 and not self._stopping.is_set():
                raise self._start_failed(f"ended with {describe_exit(code)}")
        elif not self._wait_for_probe(process):
            return
        if not self._settled.is_set():
            self.spec.settle()
        took = round((time.monotonic() - began) * 1000)
        self._change_state(
            "done" if self.spec.once else "running", **({"pid": None, "started": None} if self.spec.once else {})
        )
        where = f", port {self.spec.port}" if self.spec.port else ""
        self._report(f"{'done' if self.spec.once else 'ready'} in {took} ms{where}")
        self._settled.set()

    def _wait_for_probe(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the probe succeeds and the answer is the process's own; False when the process ended before."""
        deadline, pause, reason = time.monotonic() + self.spec.ready_within, FIRST_POLL_S, None
        while process.poll() is None:
            reason = self.spec.ready() if self.spec.ready else None
            if reason is None:
                # A probe asks the port, and another program may be listening there.
                if self.spec.port is None or self._owns_listener(self.spec.port):
                    return True
                self._require_free_port()
                reason = f"port {self.spec.port} is not its own"
            if time.monotonic() > deadline:
                raise self._start_failed(f"was not ready within {self.spec.ready_within:g} s ({reason})")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
            pause = min(pause * 1.5, LAST_POLL_S)
        return False

    def _owns_listener(self, port: int) -> bool:
        """Return whether the process or one of its children listens on `port`; True if the kernel does not tell."""
        try:
            process = psutil.Process(self._process.pid) if self._process else None
            return process is not None and any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
                for member in (process, *process.children(recursive=True))
                for connection in member.net_connections("tcp")
            )
        except psutil.NoSuchProcess:
            return False
        except (psutil.AccessDenied, OSError):
            return True

    def _require_free_port(self) -> None:
        """Raise PortTaken when a program that is not ours listens on the port of the spec."""
        port = self.spec.port
        if port is not None and not is_free(port) and not self._owns_listener(port):
            raise PortTaken(
                f"{self.spec.name} cannot have port {port}: {describe_listener(port)} listens there. "
                f"All data was kept. End that program, or choose another port with --{self.spec.name}-port."
            )

    def _start_failed(self, reason: str) -> StartFailed:
        log = self._folder.log_of(self.spec.name)
        tail = self._folder.read_log_tail(self.spec.name)
        return StartFailed(f"{self.spec.name} {reason}. The end of {log}:\n{tail or '    (empty)'}")

    def _send_signal(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(process.pid, number)

    def _change_state(self, state: str, **changes: Any) -> None:
        since = self.state.since if state == self.state.state else utc_now().isoformat(timespec="seconds")
        with self._news:
            self.state = replace(self.state, state=state, since=since, **changes)
            # Written down before anybody is told.
            self._changed()
            self._news.notify_all()

    def _report(self, text: str) -> None:
        self._progress(f"{self.spec.name:<15} {text}")


def describe_exit(code: int) -> str:
    """Return `exit code 7` or `signal SIGKILL` for the return code of a process."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def find_tag(folder: Folder) -> str:
    """Return the random name that all processes of this data folder carry."""
    known = folder.read_record().get("tag")
    return str(known) if known else f"agentstate-{secrets.token_hex(8)}"


def find_leftovers(folder: Folder) -> dict[int, str]:
    """Return the live processes of this folder, name by pid: those recorded, and those that carry its tag."""
    record = folder.read_record()
    tag = str(record.get("tag") or "no tag")
    found = {process.pid: find_name(process, tag) or "" for process in find_processes(tag)}
    for name, known in record.get("processes", {}).items():
        identity = ProcessIdentity.parse_record(known)
        if identity and identity.find_process():
            found.setdefault(identity.pid, name)
    return found


def end_leftovers(folder: Folder) -> int:
    """End the processes that a killed supervisor left on this folder, the servers last; return their number."""
    found = find_leftovers(folder)
    servers = {pid for pid, name in found.items() if name in SERVERS}
    for pids in (found.keys() - servers, servers):
        end_processes([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], within=END_WITHIN_S)
    return len(found)


class Supervisor:
    """Runs a process table. Claim the folder first; one supervisor runs one table once."""

    def __init__(
        self,
        context: StackContext,
        *,
        progress: Callable[[str], None],
        about: Mapping[str, Any],
    ) -> None:
        self._context, self._progress, self._about = context, progress, about
        self._writing = threading.Lock()
        self._write_timer: threading.Timer | None = None
        self._state = "starting"
        self._since = utc_now().isoformat(timespec="seconds")
        self._self = ProcessIdentity.of_pid(os.getpid())
        self.children: dict[str, Child] = {}

    def start_processes(self, table: Sequence[ProcessSpec]) -> None:
        """Start every stage in turn.

        Raises:
            StackError: a process did not become ready; all others were stopped again.
        """
        for spec in table:
            self.children[spec.name] = Child(
                spec, self._context, changed=self._write_record, progress=self._report_safely
            )
        self._write_record()
        try:
            for _, stage in groupby(table, key=lambda spec: spec.stage):
                children = [self.children[spec.name] for spec in stage]
                for child in children:
                    child.start()
                for child in children:
                    child.wait_ready()
        except BaseException:
            self.stop_processes(state="failed")
            raise
        self._change_state("running")

    def stop_processes(self, state: str = "stopped") -> None:
        """Stop everything, the last stage first, and end all other processes with the tag."""
        self._change_state("stopping")
        table = [child.spec for child in self.children.values()]
        for _, stage in groupby(reversed(table), key=lambda spec: spec.stage):
            children = [self.children[spec.name] for spec in stage]
            for child in children:
                child.request_stop()
            for child in children:
                child.wait_stopped()
        end_processes(find_processes(self._context.tag), within=END_WITHIN_S)
        self._change_state(state)
        with self._writing:
            if self._write_timer is not None:
                self._write_timer.cancel()

    def retry_given_up(self) -> None:
        """Try the processes that were given up again, now."""
        for child in self.children.values():
            child.retry_given_up()

    def _change_state(self, state: str) -> None:
        self._state = state
        self._write_record()

    def _write_record(self) -> None:
        """Write `stack.json`; when the disk refuses, report it once and try again until it succeeds."""
        with self._writing:
            alive = self._state not in {"stopped", "failed"}
            record = {
                "format": 1,
                "tag": self._context.tag,
                "state": self._state,
                "since": self._since,
                "supervisor": asdict(self._self) if alive and self._self else None,
                **self._about,
                "processes": {name: asdict(child.state) for name, child in self.children.items()},
            }
            try:
                self._context.folder.write_record(record)
            except OSError as error:
                if self._write_timer is None:
                    self._report_safely(f"could not write {self._context.folder.record_file}, will retry: {error}")
                else:
                    self._write_timer.cancel()
                self._write_timer = threading.Timer(WRITE_AGAIN_S, self._write_record)
                self._write_timer.daemon = True
                self._write_timer.start()
            else:
                if self._write_timer is not None:
                    self._write_timer.cancel()
                    self._write_timer = None

    def _report_safely(self, line: str) -> None:
        """Report a step; a log that cannot be written (a full disk) must not end a supervising thread."""
        with contextlib.suppress(OSError):
            self._progress(line)
