"""One supervised process: started, waited for until it is ready, restarted when it dies, stopped when asked.

A thread of its own waits for each process, so that a death is seen at once and nothing is polled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentstate.clock import utc_now
from deploy.local.stack.errors import StackError, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.ownership import ProcessIdentity, end_processes, find_processes, make_mark
from deploy.local.stack.spec import ProcessSpec

FIRST_POLL_S, LAST_POLL_S = 0.01, 0.2
"""Time between two readiness checks: short at first, for most processes are quick."""


@dataclass(frozen=True)
class RestartPolicy:
    """How a process that died is brought back."""

    delays: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0)
    """Seconds before the first, second, ... restart in a row; the last one is used again."""
    give_up_after: int = 6
    """Deaths in a row after which it stays down."""
    settled_after: float = 20.0
    """Seconds of life after which earlier deaths are forgotten."""

    def delay_after(self, deaths: int) -> float:
        """Seconds to wait after this many deaths in a row."""
        return self.delays[min(deaths, len(self.delays)) - 1]


@dataclass(frozen=True, kw_only=True)
class StackContext:
    """What all processes of one stack share."""

    folder: Folder
    tag: str
    """Random name that marks them as this stack's."""
    env: Mapping[str, str]
    """Their environment."""
    policy: RestartPolicy = RestartPolicy()


@dataclass(frozen=True)
class ChildState:
    """What is known of one process, as it is written to `stack.json`."""

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
    """Supervises one process of the table. `start()` returns at once; `wait_ready()` tells how it went."""

    def __init__(
        self,
        spec: ProcessSpec,
        home: StackContext,
        *,
        changed: Callable[[], None],
        progress: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.state = ChildState(port=spec.port)
        self._folder, self._tag, self._policy = home.folder, home.tag, home.policy
        self._env = {**home.env, **spec.env, **make_mark(home.tag, spec.name)}
        self._changed, self._progress = changed, progress
        self._guard = threading.Lock()
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._failure: StackError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._deaths = 0

    def start(self) -> None:
        """Begin to supervise."""
        self._deaths = 0
        self._thread = threading.Thread(target=self._run_lives, name=f"supervise-{self.spec.name}", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when the process became ready for the first time; raise what kept it from it."""
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def wait_running(self, other_than: int | None, timeout: float) -> bool:
        """Wait until it is ready under another pid than `other_than`; False when `timeout` seconds passed."""
        with self._news:
            return self._news.wait_for(lambda: self.state.state == "running" and self.state.pid != other_than, timeout)

    def request_stop(self) -> None:
        """Send the stop signal; it will not be restarted."""
        with self._guard:
            self._stopping.set()
            self._send_signal(self.spec.stop_signal)

    def wait_stopped(self) -> None:
        """Wait for the end; after the time of the spec, kill the whole process group."""
        if self._thread is None:
            return
        self._thread.join(self.spec.stop_within)
        if self._thread.is_alive():
            self._report_line(f"did not stop within {self.spec.stop_within:g} s, killed")
            self._send_signal(signal.SIGKILL, whole_group=True)
            self._thread.join()
        if self.state.state != "gave up":
            self._change_state("stopped", pid=None, started=None)

    def kill(self) -> None:
        """`kill -9`, as a crash would; it is then restarted."""
        with self._guard:
            self._send_signal(signal.SIGKILL)

    def retry_given_up(self) -> None:
        """Start again after it was given up."""
        if self.state.state == "gave up":
            self.start()

    def as_record(self) -> dict[str, Any]:
        """The state for `stack.json`."""
        return self.state.__dict__.copy()

    def _run_lives(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            failure = self._run_once()
            if self._stopping.is_set() or self.state.state == "done":
                break
            first = not self._settled.is_set()
            if first or self._is_hopeless(began):
                self._give_up(failure)
                break
            self._change_state("waiting", pid=None, started=None, restarts=self.state.restarts + 1)
            self._stopping.wait(self._policy.delay_after(self._deaths))
        self._settled.set()

    def _run_once(self) -> StackError:
        """One life: start, become ready, run to the end. Returns how it ended, as the error it would be."""
        try:
            if self._process is not None:
                self._end_orphans()
            self.spec.prepare()
            began = time.monotonic()
            process = self._spawn_process()
            if process is not None:
                self._become_ready(process, began)
                process.wait()
        except StackError as error:
            self._kill_unready()
            return error
        except Exception as error:  # noqa: BLE001 whatever a hook raised must reach the user, not end the thread
            self._kill_unready()
            return StartFailed(f"{self.spec.name} could not be started: {error}")
        return self._describe_death()

    def _spawn_process(self) -> subprocess.Popen[bytes] | None:
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
            self._run_to_end(process)
        elif not self._wait_for_probe(process):
            return
        if not self._settled.is_set():
            self.spec.settle()
        took = round((time.monotonic() - began) * 1000)
        self._change_state(
            "done" if self.spec.once else "running", **({"pid": None, "started": None} if self.spec.once else {})
        )
        self._report_line(f"{'done' if self.spec.once else 'ready'} in {took} ms{self._port_text()}")
        self._settled.set()

    def _run_to_end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(self.spec.ready_within)
        except subprocess.TimeoutExpired:
            raise self._start_failed(f"did not end within {self.spec.ready_within:g} s") from None
        if code != 0 and not self._stopping.is_set():
            raise self._start_failed(f"ended with {_describe_exit(code)}")

    def _wait_for_probe(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the probe is content; False when the process ended before."""
        deadline, pause, reason = time.monotonic() + self.spec.ready_within, FIRST_POLL_S, None
        while process.poll() is None:
            reason = self.spec.ready() if self.spec.ready else None
            if reason is None:
                return True
            if time.monotonic() > deadline:
                raise self._start_failed(f"was not ready within {self.spec.ready_within:g} s ({reason})")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
            pause = min(pause * 1.5, LAST_POLL_S)
        return False

    def _describe_death(self) -> StackError:
        code = self._process.returncode if self._process else None
        if code is None or self._stopping.is_set() or self.state.state == "done":
            return StartFailed(f"{self.spec.name} was stopped while it started.")
        ended = _describe_exit(code)
        self._change_state(self.state.state, last_exit=ended)
        self._report_line(f"ended unexpectedly with {ended}")
        return self._start_failed(f"ended with {ended}")

    def _is_hopeless(self, began: float) -> bool:
        lived = time.monotonic() - began
        self._deaths = 1 if lived >= self._policy.settled_after else self._deaths + 1
        return self._deaths >= self._policy.give_up_after

    def _give_up(self, failure: StackError) -> None:
        self._change_state("gave up", pid=None, started=None)
        if self._settled.is_set():
            self._report_line(
                f"given up after {self._deaths} deaths in a row; `restart {self.spec.name}` tries again. "
                f"{failure.message}"
            )
        else:
            self._failure = failure

    def _kill_unready(self) -> None:
        """End what was started in vain."""
        if self._process is not None and self._process.poll() is None:
            with self._guard:
                self._send_signal(signal.SIGKILL, whole_group=True)
            self._process.wait()

    def _end_orphans(self) -> None:
        """End what a killed process left behind, such as its own children, before a new one takes its place."""
        orphans = end_processes(find_processes(self._tag, self.spec.name), within=5.0)
        if orphans:
            self._report_line(f"ended {len(orphans)} left over from before")

    def _start_failed(self, what: str) -> StartFailed:
        log = self._folder.log_of(self.spec.name)
        tail = self._folder.read_log_tail(self.spec.name)
        return StartFailed(f"{self.spec.name} {what}. The end of {log}:\n{tail or '    (empty)'}")

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

    def _report_line(self, text: str) -> None:
        self._progress(f"{self.spec.name:<15} {text}")

    def _port_text(self) -> str:
        return f", port {self.spec.port}" if self.spec.port else ""


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
