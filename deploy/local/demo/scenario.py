"""One run of the demonstration, from the first process to the last: stack, agents, faults, settling, findings."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from rich.console import Console
from rich.live import Live
from rich.table import Table

from agentstate.memory.facts.counts import count_memories
from agentstate.runtime import Runtime
from agentstate.store.tables import effects, jobs, recon_cursors
from agentstate.store.tables.base import db_time
from deploy.local.demo import measures
from deploy.local.demo.faults import PLANTED_AGENT, FaultInjector
from deploy.local.demo.findings import Findings
from deploy.local.demo.workers import AgentProcesses, DemoStack

SETTINGS = {
    "snapshot_every_s": "10",
    "reconcile_every_s": "10",
    "sweep_every_s": "1",
    "summary_after_tokens": "600",
}
"""Schedules that take minutes in production run every few seconds here."""
AGENT_PROCESSES = 3
TICK_S = 1.0
START_WITHIN_S = 40.0
END_WITHIN_S = 85.0
"""How long the agent processes may go on after their time, to resolve effects in doubt."""
SETTLE_WITHIN_S = 75.0
"""Longer than the longest lease that a killed worker leaves behind."""
LINE_EVERY_S = 5.0
_SHOWN = 12


class Progress:
    """A live table of counters on a terminal, a line every few seconds elsewhere. Safe to use from several threads."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, refresh_per_second=4, transient=True) if out.is_terminal else None
        self._lock = threading.Lock()
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def report(self, text: str) -> None:
        """Print one line with the seconds since the start."""
        with self._lock:
            self._out.print(f"{time.monotonic() - self._began:4.0f} s  {text}", markup=False, soft_wrap=True)

    def show_counts(self, phase: str, numbers: Mapping[str, int]) -> None:
        """Update the table; without a terminal, print the counts at most every `LINE_EVERY_S` seconds."""
        now = time.monotonic()
        if self._live is not None:
            table = Table(title=f"{phase}, {now - self._began:.0f} s", title_justify="left")
            for name in numbers:
                table.add_column(name, justify="right")
            table.add_row(*(str(value) for value in numbers.values()))
            self._live.update(table)
        elif now - self._shown >= LINE_EVERY_S:
            self._shown = now
            self.report(f"{phase}: " + ", ".join(f"{name} {value}" for name, value in numbers.items()))


@dataclass(frozen=True, kw_only=True)
class DemoChoices:
    """The user's options."""

    data: Path
    agents: int
    seconds: float
    seed: int
    stays: bool
    settings: Mapping[str, str]


class Demo:
    """One run. Use it as a context: at its end every process is stopped, unless `keep_stack` was called."""

    def __init__(self, choices: DemoChoices, progress: Progress) -> None:
        self._choices, self._progress = choices, progress
        settings = {**SETTINGS, **choices.settings}
        self.stack = DemoStack(choices.data, settings, seed=choices.seed, stays=choices.stays, report=progress.report)
        self._agents = [f"ag_{number:02}" for number in range(1, choices.agents + 1)]
        self._cleanup = contextlib.ExitStack()
        self._keeps_stack = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._cleanup.close()

    def keep_stack(self) -> None:
        """Leave the stack running at the end."""
        self._keeps_stack = True

    def run(self) -> Findings:
        """Run the whole demonstration and return its findings."""

        def stop_stack() -> None:
            if not self._keeps_stack:
                self._progress.report("stopping")
                self.stack.stop()

        self._cleanup.callback(stop_stack)
        self.stack.start()
        runtime = Runtime(self.stack.load_settings())
        self._cleanup.callback(runtime.close)
        agents = AgentProcesses(self.stack, self._agents, processes=AGENT_PROCESSES, seed=self._choices.seed)
        self._cleanup.callback(agents.stop)
        faults = FaultInjector(self.stack, agents, runtime, seed=self._choices.seed, report=self._progress.report)
        self._cleanup.callback(faults.close)
        self._run_fleet(runtime, agents, faults)

        # Everything that is due must be done before the measurements count.
        failures = agents.list_failures() + (
            [f"{agents.count_alive()} agent processes do not end"] if agents.count_alive() else []
        )
        with runtime.store.transaction() as tx:
            since = tx.now()
        self._progress.report("waiting until all work is done")
        left = wait_until_settled(
            runtime,
            since,
            within_s=SETTLE_WITHIN_S,
            show=lambda lines: self._progress.show_counts(f"waiting: {lines[0]}", measures.count_progress(runtime)),
        )
        self._progress.report("measuring")
        course = measures.RunCourse(
            agents=self._agents,
            seed=self._choices.seed,
            injected=faults.injected,
            disruptions=faults.disruptions,
            open=left,
            failures=failures,
        )
        return measures.gather_findings(self.stack, runtime, course)

    def _run_fleet(self, runtime: Runtime, agents: AgentProcesses, faults: FaultInjector) -> None:
        """Let the agents work while faults and disruptions happen, until the last one has resolved its effects."""

        def wait(within_s: float, phase: str, is_done: Callable[[], bool] = lambda: False) -> None:
            deadline = time.monotonic() + within_s
            while time.monotonic() < deadline and not is_done():
                self._progress.show_counts(phase, measures.count_progress(runtime))
                time.sleep(max(min(TICK_S, deadline - time.monotonic()), 0))

        seconds = self._choices.seconds
        faults.start(seconds)
        agents.start()
        wait(START_WITHIN_S, "agents begin", lambda: measures.count_progress(runtime)["effects"] > 0)
        began = time.monotonic()
        self._progress.report(f"{len(self._agents)} agents in {len(agents)} processes work for {seconds:g} s")
        for event in faults.list_events():
            wait(began + event.share * seconds - time.monotonic(), "the fleet is at work")
            event.act()
        wait(began + seconds - time.monotonic(), "the fleet is at work")
        faults.stop()
        agents.request_end()
        self._progress.report("the fleet's time is over; agents ask for effects in doubt")
        wait(END_WITHIN_S, "agents ask for effects in doubt", lambda: agents.count_alive() == 0)


def wait_until_settled(
    runtime: Runtime, since: datetime, *, within_s: float, show: Callable[[list[str]], None]
) -> list[str]:
    """Wait until no work is open, at most `within_s` seconds; return the work that is still open then."""
    deadline = time.monotonic() + within_s
    while left := list_open_work(runtime, since):
        show(left)
        if time.monotonic() > deadline:
            break
        time.sleep(TICK_S)
    return left


def list_open_work(runtime: Runtime, since: datetime) -> list[str]:
    """Return the unfinished work, one line each; accounts must have been reconciled after `since`.

    Jobs that are due later than `measures.SOON_S` seconds from now are appointments and do not count.
    """
    with runtime.store.read_connection() as connection:
        job, effect, cursor = jobs.c, effects.c, recon_cursors.c
        due = sa.select(job.kind, job.agent_id, job.status, job.attempts, job.error).where(
            job.status.in_(("ready", "running", "dead")), job.due_at < db_time(measures.SOON_S)
        )
        lines = [
            f"job {row.kind} of {row.agent_id or 'nobody'} is {row.status}, attempt {row.attempts}"
            + (f": {row.error}" if row.error else "")
            for row in connection.execute(due.limit(_SHOWN))
        ]
        lines += [
            f"{found.agent_id}: {found.pending} memories wait and {found.dead} were given up"
            for found in count_memories(connection)
            if found.pending or found.dead
        ]
        unresolved = sa.select(effect.agent_id, effect.key, effect.operation, effect.state, effect.note).where(
            effect.state.not_in(("succeeded", "failed"))
        )
        lines += [
            f"{row.operation} {row.key!r} of {row.agent_id} is {row.state}: {row.note}"
            for row in connection.execute(unresolved.limit(_SHOWN))
        ]
        expected = sa.case((cursor.agent_id == PLANTED_AGENT, "break"), else_="matched")
        reconciled = sa.and_(cursor.status == expected, cursor.checked_at > since)
        pending = sa.or_(cursor.status.is_(None), cursor.checked_at.is_(None), sa.not_(reconciled))
        accounts = sa.select(cursor.agent_id, cursor.service, cursor.status).where(pending)
        lines += [
            f"{row.service} of {row.agent_id} is to be compared again; last: {row.status}"
            for row in connection.execute(accounts.limit(_SHOWN))
        ]
    return lines
