"""One run of the demonstration from the first process to the last: stack, fleet, trouble, quiet, facts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agentstate.runtime import Runtime
from deploy.local.demo import measures
from deploy.local.demo.crew import Crew
from deploy.local.demo.facts import Facts
from deploy.local.demo.faults import Trouble
from deploy.local.demo.progress import Progress
from deploy.local.demo.quiet import wait_for_quiet
from deploy.local.demo.stage import Stage

SETTINGS = {
    "snapshot_every_s": "10",
    "reconcile_every_s": "10",
    "sweep_every_s": "1",
    "summary_after_tokens": "600",
}
"""Everything that waits for minutes in earnest comes by every few seconds here."""
AGENT_PROCESSES = 3
TICK_S = 1.0
START_WITHIN_S = 40.0
END_WITHIN_S = 85.0
"""After the fleet's time: how long its processes may go on asking for what is in doubt."""
QUIET_WITHIN_S = 75.0
"""Longer than the longest lease of a worker that was killed half-way still runs."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a user may choose."""

    data: Path
    agents: int
    seconds: float
    seed: int
    stays: bool
    settings: Mapping[str, str]


class Demo:
    """Runs once. Use as a context: at its end nothing runs any more, unless it is to stay and nothing went wrong."""

    def __init__(self, choices: Choices, progress: Progress) -> None:
        self._choices, self._progress = choices, progress
        self.stage = Stage(
            choices.data, {**SETTINGS, **choices.settings}, seed=choices.seed, stays=choices.stays, say=progress.say
        )
        self._agents = [f"ag_{number:02}" for number in range(1, choices.agents + 1)]
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._cleanup.close()

    def run(self) -> Facts:
        """Everything; the facts."""
        self._cleanup.callback(self._stop_stage)
        self.stage.start()
        runtime = Runtime(self.stage.settings())
        self._cleanup.callback(runtime.close)
        crew = Crew(self.stage, self._agents, processes=AGENT_PROCESSES, seed=self._choices.seed)
        self._cleanup.callback(crew.stop)
        trouble = Trouble(self.stage, crew, runtime, seed=self._choices.seed, say=self._progress.say)
        self._cleanup.callback(trouble.close)
        self._live(runtime, crew, trouble)
        return self._look(runtime, crew, trouble)

    def _live(self, runtime: Runtime, crew: Crew, trouble: Trouble) -> None:
        """The fleet's time, with everything that goes wrong in it, and until the last agent is content."""
        trouble.begin(self._choices.seconds)
        crew.start()
        self._until(START_WITHIN_S, lambda: measures.counts(runtime)["effects"] > 0, "agents begin", runtime)
        seconds, began = self._choices.seconds, time.monotonic()
        self._progress.say(f"{len(self._agents)} agents in {len(crew)} processes work for {seconds:g} s")
        for event in trouble.events():
            due = began + event.share * seconds
            self._until(due - time.monotonic(), lambda: False, "the fleet is at work", runtime)
            event.act()
        self._until(began + seconds - time.monotonic(), lambda: False, "the fleet is at work", runtime)
        trouble.end()
        crew.finish()
        self._progress.say("the fleet's time is over; agents ask for what is in doubt")
        self._until(END_WITHIN_S, lambda: crew.alive() == 0, "agents ask for what is in doubt", runtime)

    def _until(self, within_s: float, done: Callable[[], bool], phase: str, runtime: Runtime) -> None:
        """Show how far it is until it is `done`, at most `within_s` seconds."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and not done():
            self._progress.show(phase, measures.counts(runtime))
            time.sleep(max(min(TICK_S, deadline - time.monotonic()), 0))

    def _look(self, runtime: Runtime, crew: Crew, trouble: Trouble) -> Facts:
        failures = crew.failures() + ([f"{crew.alive()} agent processes do not end"] if crew.alive() else [])
        with runtime.store.transaction() as tx:
            since = tx.now()
        self._progress.say("waiting for quiet")
        left = wait_for_quiet(
            runtime,
            since,
            within_s=QUIET_WITHIN_S,
            show=lambda things: self._progress.show(f"waiting: {things[0]}", measures.counts(runtime)),
        )
        self._progress.say("gathering")
        course = measures.Course(
            agents=self._agents,
            seed=self._choices.seed,
            injected=trouble.injected,
            killed=trouble.done,
            open=left,
            failures=failures,
        )
        return measures.gather(self.stage, runtime, course)

    def keep(self) -> None:
        """Leave the stack running."""
        self._keeps = True

    _keeps = False

    def _stop_stage(self) -> None:
        if not self._keeps:
            self._progress.say("stopping")
            self.stage.stop()
