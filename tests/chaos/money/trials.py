"""Trials: one bet each, with the deaths that it dies on the way, and what is found at the end.

A trial is the list of deaths of the processes that work on the bet, one after the other; then one lives, comes back
with the same key and asks until it is told. The deaths are all that differs, so a trial can be run again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from agentstate.errors import AgentStateError
from agentstate.money import Guarantee
from agentstate.store.store import Store
from tests.chaos.money import bugs
from tests.chaos.money.audit import Found, audit
from tests.chaos.money.ground import Ground
from tests.chaos.money.lives import PARALLEL, live, spread
from tests.chaos.money.remote import KILLS
from tests.chaos.money.scene import Scene, Times
from tests.chaos.money.trap import Trap
from tests.chaos.money.wire import Wire

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Death:
    """How one life ends."""

    at: int = 0
    """Number of the point that it dies at; 0: at none."""
    fault: str = ""
    """What the remote does to it when it bets."""
    sweeps: bool = False
    """Whether it came back to sweep, rather than to ask; the first life always asks."""


@dataclass(frozen=True)
class Trial:
    """One bet with its deaths."""

    deaths: tuple[Death, ...]
    sweep_first: bool = False
    """Whether the survivor lets the sweep look before it asks itself."""

    def __str__(self) -> str:
        said = [death.fault or f"point {death.at}" for death in self.deaths]
        return f"{' then '.join(said)}, {'sweep' if self.sweep_first else 'caller'} first"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where a trial happens."""

    engine: str
    guarantee: Guarantee
    later: bool = False
    """A later bet of its agent, in two statements where that is possible; else its first, with a job to follow it."""
    bug: str = ""
    """Name of the planted bug that all lives have."""

    def __str__(self) -> str:
        engine = "SQLite" if self.engine == "sqlite" else "Postgres"
        return f"{engine}, {self.guarantee.upper()}{', a later bet' if self.later else ''}"

    @property
    def bets(self) -> int:
        """How many bets an agent has made at the end."""
        return 2 if self.later else 1


@dataclass(frozen=True)
class Result:
    """What came of one trial."""

    trial: str
    kills: int
    told_wrong: int
    doubled: int
    lost: int
    unequal: int
    why: str
    breaks: int = 0
    """Open breaks that tell of an effect too many."""

    @property
    def bad(self) -> int:
        """How much is wrong with it."""
        return self.told_wrong + self.doubled + self.lost + self.unequal


@dataclass
class Tally:
    """Many results, added up."""

    name: str
    points: int = 0
    kills: int = 0
    doubled: int = 0
    lost: int = 0
    unequal: int = 0
    told_wrong: int = 0
    wrong: list[str] = field(default_factory=list)
    """The first trials that went wrong, in words."""

    def add(self, results: Iterable[Result]) -> None:
        """Add results."""
        for result in results:
            self.points += 1
            for name in ("kills", "doubled", "lost", "unequal", "told_wrong"):
                setattr(self, name, getattr(self, name) + getattr(result, name))
            if result.bad and len(self.wrong) < 5:
                self.wrong.append(f"{result.trial}: {result.why}")

    @property
    def bad(self) -> int:
        """How much is wrong."""
        return self.doubled + self.lost + self.unequal + self.told_wrong


class Stand:
    """Where one process plays the trials of a case: a store that nobody else uses, and the remote."""

    def __init__(self, case: Case, store: Store, port: int) -> None:
        bugs.plant(case.bug)
        self.case, self.store, self._port = case, store, port

    def scene(
        self,
        agent: str,
        *,
        fault: str = "",
        step: Callable[[str], None] | None = None,
        port: int | None = None,
        times: Times | None = None,
    ) -> Scene:
        """What a life of `agent` sees; `port` is where it takes the remote to be."""
        options: dict[str, Any] = {} if step is None else {"step": step}
        wire = Wire(port or self._port, keyed=self.case.guarantee is Guarantee.KEYED, fault=fault, **options)
        return Scene(self.store, wire, agent, self.case.guarantee, follows=not self.case.later, times=times)

    def agents(self, count: int) -> list[str]:
        """Names that the remote has not heard yet, each with money."""
        names = [f"ag_{os.getpid()}_{next(_numbers)}" for _ in range(count)]
        for name in names:
            self.scene(name).begin(bets=self.case.bets - 1)
        self.store.close()
        return names

    def truth(self) -> dict[str, Any]:
        """What the remote says."""
        return Wire(self._port).truth()

    def first(self, agent: str, death: Death) -> list[str]:
        """The life that begins the bet; the points that it passed."""
        trap = Trap(death.at)
        scene = self.scene(agent, fault=death.fault, step=trap.step)
        trap.set(self.store.engine)
        with suppress(AgentStateError):  # its answer was lost: it asks again later, as one that died would
            scene.bet()
        trap.lift()
        return trap.passed

    def again(self, agent: str, death: Death) -> list[str]:
        """A life that comes back, and may die too."""
        trap = Trap(death.at)
        scene = self.scene(agent, fault=death.fault, step=trap.step)
        scene.let_time_pass()
        trap.set(self.store.engine)
        if death.sweeps:
            scene.sweep()
        else:
            scene.insist()
        trap.lift()
        return trap.passed

    def play(self, agent: str, trial: Trial) -> tuple[int, Any]:
        """One trial: kills, and what the survivor was told, twice."""
        first, *later = trial.deaths
        kills = live(lambda: self.first(agent, first)).killed
        for death in later:
            kills += live(lambda death=death: self.again(agent, death)).killed  # type: ignore[misc]
        survivor = live(lambda: self.scene(agent).recover(sweep_first=trial.sweep_first))
        return int(kills), survivor.told


def points_of(ground: Ground, case: Case, deaths: Sequence[Death] = ()) -> list[str]:
    """The points that a life passes: one that begins the bet, or one that comes back after `deaths`.

    The last of `deaths` says what that life does; where it dies is left out.
    """

    def count() -> list[str]:
        stand = Stand(case, store, ground.remote)
        (agent,) = stand.agents(1)
        if not deaths:
            told = live(lambda: stand.first(agent, Death())).told
        else:
            live(lambda: stand.first(agent, deaths[0]))
            told = live(lambda: stand.again(agent, Death(sweeps=deaths[-1].sweeps))).told
        return list(told)

    store = store_of(ground, case)
    found: list[str] = live(count).told
    return found


def store_of(ground: Ground, case: Case, number: int = 0) -> Store:
    """The store on which process `number` plays `case`, warmed by one bet."""

    def warm(store: Store) -> None:
        stand = Stand(replace(case, bug="", later=False), store, ground.remote)
        (agent,) = stand.agents(1)
        scene = stand.scene(agent)
        scene.insist()
        scene.sweep()

    return ground.store(case.engine, number, warm)


def run(ground: Ground, case: Case, trials: Sequence[Trial], *, say: Callable[[int], None]) -> list[Result]:
    """Play all trials, two at a time; one result each."""
    stores = [store_of(ground, case, number) for number in range(PARALLEL)]

    def work(number: int, share: Sequence[Trial], done: Callable[[], None]) -> list[dict[str, Any]]:
        stand = Stand(case, stores[number], ground.remote)
        played = {}
        for trial, agent in zip(share, stand.agents(len(share)), strict=True):
            played[agent] = (trial, *stand.play(agent, trial))
            done()
        truth = stand.truth()
        swept = {agent for agent, (trial, _, _) in played.items() if _may_sweep(trial)}
        found = audit(stand.store, truth, dict.fromkeys(played, case.bets), swept=None if case.later else swept)
        return [
            asdict(judged(str(trial), told, found[agent], truth["bets"].get(agent, []), kills=kills))
            for agent, (trial, kills, told) in played.items()
        ]

    shares = spread(trials, work, say=say)
    return [Result(**each) for share in shares for each in share]


def _may_sweep(trial: Trial) -> bool:
    """Whether the sweep can have settled it: it sweeps, or it was in doubt when its caller asked."""
    return trial.sweep_first or any(death.sweeps for death in trial.deaths[1:]) or any(d.fault for d in trial.deaths)


def judged(
    trial: str, told: Any, found: Found, bets: list[Any], *, kills: int = 0, wrong: Sequence[str] = ()
) -> Result:
    """What a trial shows, from what the survivor was told, what is found, and what else went `wrong`."""
    unlike = told is None or told["told"] != told["again"] or told["told"] not in bets
    why = [*wrong, *([f"told {told}"] if unlike else [])]
    why += [f"applied {found.applied} times"] if found.doubled or found.lost else []
    why += [found.books] if found.books else []
    return Result(
        trial=trial,
        kills=kills,
        told_wrong=int(unlike or bool(wrong)),
        doubled=found.doubled,
        lost=found.lost,
        unequal=int(bool(found.books)),
        breaks=found.evidence["break:late_outcome"],
        why="; ".join(why),
    )


SERVER_SIDE = tuple(Trial((Death(fault=fault),), sweep_first=sweeps) for fault in KILLS for sweeps in (False, True))
"""The remote kills its client: before it takes the bet, after it, and in the middle of the answer."""
