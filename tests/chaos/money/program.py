"""All runs in their order, each as a line of the table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from agentstate.money import Guarantee
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.money import connections, control, scenarios
from tests.chaos.money.bugs import BUGS, Bug
from tests.chaos.money.connections import Cut
from tests.chaos.money.ground import ENGINES, Ground
from tests.chaos.money.remote import KILLS
from tests.chaos.money.report import Line, print_lines
from tests.chaos.money.trials import SERVER_SIDE, Case, Death, Result, Tally, Trial, points_of, run

T = TypeVar("T")

CASES = [
    Case(engine=engine, guarantee=guarantee)
    for engine in ENGINES
    for guarantee in (Guarantee.KEYED, Guarantee.VERIFIABLE)
]
LATER = [replace(case, later=True) for case in CASES if case.engine == "postgres"]
"""Where the intent with its hold, and the outcome with its postings, are one statement each."""
MULTIPLE = 150
"""Trials with several deaths in each case."""
_HUNT = 6
"""Trials after which a hunt for a planted bug looks whether it was caught."""


class Program:
    """One run of everything.

    Args:
        ground: what it stands on.
        seed: of what is drawn.
        sample: how many points of each kind are tried; 0 tries all.
        say: is told what is being done.
    """

    def __init__(self, ground: Ground, *, seed: int, sample: int, say: Callable[[str], None]) -> None:
        self._ground, self._sample, self._say = ground, sample, say
        self._draw = random.Random(seed)
        self._points: dict[Case, int] = {}
        # A sample is for a look in between: each database and each kind of remote once.
        self._cases, self._later = ([CASES[0], CASES[-1]], LATER[:1]) if sample else (CASES, LATER)

    def lines(self) -> Iterator[Line]:
        """Every line, as it is ready."""
        for case in [*self._cases, *self._later]:
            yield self._every_point(case)
        for case in [*self._cases, *self._later]:
            yield self._several_deaths(case)
        for case in self._cases:
            yield from self._scenarios(case)
        for case in [*self._cases, *self._later]:
            if case.engine == "postgres":
                yield self._cuts(case)
        for case in self._cases:
            if case.engine == "postgres":
                yield from self._restarts(case)
        yield self._control()
        for name, bug in BUGS.items():
            yield self._hunt(name, bug)

    def _every_point(self, case: Case) -> Line:
        self._points[case] = len(points_of(self._ground, case))
        points = self._some(range(1, self._points[case] + 1))
        trials = [Trial((Death(at=at),), sweep_first=at % 2 == 0) for at in points]
        return self._run(f"killed anywhere: {case}", case, [*trials, *self._some(SERVER_SIDE)])

    def _several_deaths(self, case: Case) -> Line:
        trials = [self._deaths(self._points[case]) for _ in range(self._sample or MULTIPLE)]
        return self._run(f"killed up to 3 times: {case}", case, trials)

    def _deaths(self, points: int) -> Trial:
        """The first death anywhere or by the remote, then one or two of those who come back."""
        draw = self._draw
        first = Death(fault=draw.choice(KILLS)) if draw.random() < 0.5 else Death(at=draw.randint(1, points))
        later = [Death(at=draw.randint(1, points), sweeps=draw.random() < 0.5) for _ in range(draw.randint(1, 2))]
        return Trial((first, *later), sweep_first=draw.random() < 0.5)

    def _scenarios(self, case: Case) -> Iterator[Line]:
        for name, plays in scenarios.SCENARIOS.items():
            self._say(f"{name}: {case}")
            tally = Tally(f"{name}: {case}")
            results = scenarios.play(self._ground, case, [(name, play) for play in self._some(plays)])
            tally.add(results)
            # A request that was sent too late cannot be called back; where the remote honours no keys, it must be told.
            is_open = name == scenarios.SENDS_LATE and case.guarantee is Guarantee.VERIFIABLE
            yield Line(tally, "open" if is_open else "ours", sum(result.breaks for result in results))

    def _cuts(self, case: Case) -> Line:
        name = f"connection cut anywhere: {case}"
        self._say(name)
        count = connections.exchanges(self._ground, case)
        cuts: list[Cut] = [(at, when) for at in range(1, count + 1) for when in connections.WHENS]
        tally = Tally(name)
        tally.add(connections.cut(self._ground, case, self._some(cuts)))
        return Line(tally)

    def _restarts(self, case: Case) -> Iterator[Line]:
        if self._ground.own_postgres is not None:
            name = f"Postgres killed {connections.RESTARTS} times: {case}"
            self._say(name)
            tally = Tally(name)
            tally.add(connections.restart(self._ground, case))
            yield Line(tally)

    def _control(self) -> Line:
        points = self._some(range(1, len(control.points(self._ground)) + 1))
        tally = Tally("control, noted after the call: killed anywhere")
        trials = [*(Trial((Death(at=at),)) for at in points), *SERVER_SIDE]
        tally.add(control.run(self._ground, trials, say=self._progress(tally.name, len(trials))))
        return Line(tally, "control")

    def _hunt(self, name: str, bug: Bug) -> Line:
        """Try until the bug shows: first where the remote kills, then from the answer on, then before it."""
        case, tally = Case(engine="sqlite", guarantee=bug.guarantee, bug=name), Tally(f"bug: {name}")
        if bug.shown_by != "points":
            self._say(tally.name)
            plays = scenarios.SCENARIOS[bug.shown_by]
            tally.add(scenarios.play(self._ground, case, [(bug.shown_by, play) for play in plays]))
            return Line(tally, "bug")
        trials = [*SERVER_SIDE, *self._from_the_answer_on(case)]
        while trials and not tally.bad:
            batch, trials = trials[:_HUNT], trials[_HUNT:]
            tally.add(run(self._ground, case, batch, say=self._progress(tally.name, len(batch))))
        return Line(tally, "bug")

    def _from_the_answer_on(self, case: Case) -> list[Trial]:
        passed = points_of(self._ground, case)
        answered = passed.index("after reading POST") + 1
        after, before = list(range(answered, len(passed) + 1)), list(range(1, answered))
        self._draw.shuffle(after)
        return [Trial((Death(at=at),)) for at in [*after, *before]]

    def _run(self, name: str, case: Case, trials: Sequence[Trial]) -> Line:
        tally = Tally(name)
        results: list[Result] = run(self._ground, case, trials, say=self._progress(name, len(trials)))
        tally.add(results)
        return Line(tally)

    def _progress(self, name: str, count: int) -> Callable[[int], None]:
        return lambda done: self._say(f"{name}: {done} of {count}")

    def _some(self, items: Sequence[T]) -> list[T]:
        """All of them, or a sample in their order."""
        if not self._sample or self._sample >= len(items):
            return list(items)
        return [items[n] for n in sorted(self._draw.sample(range(len(items)), self._sample))]


@dataclass(frozen=True)
class Plan:
    """Where, and how much of it."""

    sample: int = option(0, "Try this many points of each kind, not all.", least=0)
    seed: int = option(7, "Of what is drawn.")
    postgres: str | None = option(None, "URL of a Postgres server to use; one is started when left out.")


def play(base: Path, plan: Plan, say: Say) -> Iterator[Line]:
    """Kill processes that spend money at every point, let others come back, and count what happened outside."""
    with Ground(base, plan.postgres) as ground:
        for line in Program(ground, seed=plan.seed, sample=plan.sample, say=say).lines():
            yield line
            if line.verdict == "MISSED":
                say(f"MISSED: {line.tally.name}")


SCENARIO = Scenario("A bet of an agent, killed and come back to", "chaos", Plan, play, show=print_lines)
